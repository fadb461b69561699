//! attacks_http
