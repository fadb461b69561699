//! The binary, as a person or a script runs it.

#[path = "all/bench.rs"]
mod bench;
#[path = "all/connect.rs"]
mod connect;
#[path = "all/doctor.rs"]
mod doctor;
#[path = "all/drain.rs"]
mod drain;
#[path = "all/home.rs"]
mod home;
#[path = "all/serve.rs"]
mod serve;
#[path = "all/sessions.rs"]
mod sessions;
