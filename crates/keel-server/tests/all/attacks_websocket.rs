//! attacks_websocket
