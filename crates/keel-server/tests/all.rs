//! The server from outside: real sockets, real tokens, both stores.

#[path = "all/support.rs"]
mod support;

#[path = "all/aside.rs"]
mod aside;
#[path = "all/attacks_http.rs"]
mod attacks_http;
#[path = "all/attacks_text.rs"]
mod attacks_text;
#[path = "all/attacks_websocket.rs"]
mod attacks_websocket;
#[path = "all/configuration.rs"]
mod configuration;
#[path = "all/described.rs"]
mod described;
#[path = "all/exports.rs"]
mod exports;
#[path = "all/faults.rs"]
mod faults;
#[path = "all/figures.rs"]
mod figures;
#[path = "all/files.rs"]
mod files;
#[path = "all/finding.rs"]
mod finding;
#[path = "all/http_api.rs"]
mod http_api;
#[path = "all/memory.rs"]
mod memory;
#[path = "all/models.rs"]
mod models;
#[path = "all/moves.rs"]
mod moves;
#[path = "all/openapi.rs"]
mod openapi;
#[path = "all/peer.rs"]
mod peer;
#[path = "all/peers.rs"]
mod peers;
#[path = "all/policies.rs"]
mod policies;
#[path = "all/presets.rs"]
mod presets;
#[path = "all/programs.rs"]
mod programs;
#[path = "all/rewound.rs"]
mod rewound;
#[path = "all/secrets.rs"]
mod secrets;
#[path = "all/sessions.rs"]
mod sessions;
#[path = "all/tls.rs"]
mod tls;
#[path = "all/turn.rs"]
mod turn;
#[path = "all/viewers.rs"]
mod viewers;
#[path = "all/whip.rs"]
mod whip;
