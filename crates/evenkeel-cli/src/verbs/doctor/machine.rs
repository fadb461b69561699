//! What the machine gives a process: time, files, buffers.

use std::{
    fs,
    time::{Duration, SystemTime},
};

use keel_server::Config;
use rustix::process::{Resource, getrlimit};

use super::Report;

/// Files that a server has open besides its connections.
const FILES_BESIDES: u64 = 256;
/// What a socket for media should be able to hold, in bytes: some 50 ms of a gigabit.
const BUFFER_BYTES_WANTED: u64 = 4 * 1024 * 1024;
/// How far behind its own program's making a clock may be: it may have been made elsewhere.
const CLOCK_SLACK: Duration = Duration::from_secs(26 * 3_600);

pub(super) fn examine(config: &Config, report: &mut Report) {
    clock(report);
    files(config, report);
    if config.media.listen.is_some() {
        buffers(report);
    }
}

fn clock(report: &mut Report) {
    let made = std::env::current_exe().and_then(fs::metadata);
    let made = made.and_then(|meta| meta.modified());
    let now = SystemTime::now();
    let behind = made.ok().and_then(|made| made.duration_since(now).ok());
    match behind.filter(|behind| *behind > CLOCK_SLACK) {
        Some(_) => report.fail(
            "clock",
            "this machine's clock is behind the making of this program: good tokens will be refused",
            "set the clock (timedatectl set-ntp true)",
        ),
        None => report.ok("clock", "it is plausible"),
    }
}

fn files(config: &Config, report: &mut Report) {
    let connections = config.server.max_connections as u64;
    let wanted = connections + FILES_BESIDES;
    match getrlimit(Resource::Nofile).current {
        Some(may) if may < wanted => report.warn(
            "files",
            format!("{may} files may be open, and {connections} connections are allowed"),
            format!("raise it (LimitNOFILE={wanted} in the unit, or ulimit -n {wanted}), or lower `server.max_connections`"),
        ),
        Some(may) => report.ok("files", format!("{may} may be open")),
        None => report.ok("files", "any number may be open"),
    }
}

fn buffers(report: &mut Report) {
    for name in ["rmem_max", "wmem_max"] {
        let text = fs::read_to_string(format!("/proc/sys/net/core/{name}"));
        let Some(bytes) = text.ok().and_then(|text| text.trim().parse::<u64>().ok()) else {
            continue;
        };
        if bytes < BUFFER_BYTES_WANTED {
            report.warn(
                "buffers",
                format!("a socket's buffer is {bytes} bytes at most (net.core.{name}): bursts of media are lost"),
                format!("sysctl -w net.core.{name}={BUFFER_BYTES_WANTED}"),
            );
        } else {
            report.ok("buffers", format!("net.core.{name} is {bytes} bytes"));
        }
    }
}
