//! Listening sockets, and what TCP does on connections.

use std::ops::RangeInclusive;
use std::time::Duration;

use crate::address;
use crate::config::{Address, Socket, Tcp, TcpKeepAlive};
use crate::read::{Field, Mistake, Table};

/// The kernel lowers it to its own bound (`net.core.somaxconn`), without a word.
const BACKLOG_MAX: u16 = u16::MAX;
/// What Linux takes (`MAX_TCP_KEEPIDLE`, `MAX_TCP_KEEPINTVL`, `MAX_TCP_KEEPCNT`), in whole seconds.
const KEEPALIVE_TIMES: RangeInclusive<Duration> =
    Duration::from_secs(1)..=Duration::from_secs(32_767);
const KEEPALIVE_COUNT_MAX: u32 = 127;

/// How the socket of a listener at `bind` behaves.
pub(super) fn socket(table: &mut Table<'_>, bind: Option<&Address>) -> Socket {
    let default = Socket::DEFAULT;
    let backlog = table.integer("backlog", 1..=BACKLOG_MAX).or(default.backlog);
    let nodelay = table.boolean("tcp_nodelay").or(default.tcp.nodelay);
    let keepalive = keepalive(table.table("tcp_keepalive"));
    let ipv6_only = table.boolean("ipv6_only").or(default.ipv6_only);
    let mode = table.parsed("mode", address::mode).or(default.mode);
    match bind {
        Some(Address::Unix(_)) => {
            let others = ["tcp_nodelay", "tcp_keepalive", "ipv6_only"];
            table.warn_without_effect(&others, "on a Unix socket");
        }
        Some(Address::Ip(addr)) => {
            table.warn_without_effect(&["mode"], "on a socket that is not a Unix socket");
            if addr.is_ipv4() {
                table.warn_without_effect(&["ipv6_only"], "on an IPv4 address");
            }
        }
        None => {}
    }
    Socket { backlog, tcp: Tcp { nodelay, keepalive }, ipv6_only, mode }
}

/// Whether and when peers that say nothing are asked if they are still there.
pub(super) fn keepalive(mut table: Table<'_>) -> Option<TcpKeepAlive> {
    let default = TcpKeepAlive::DEFAULT;
    let enabled = table.boolean("enabled").or(true);
    let idle = seconds(&mut table, "idle").or(default.idle);
    let interval = seconds(&mut table, "interval").or(default.interval);
    let count = table.integer("count", 1..=KEEPALIVE_COUNT_MAX).or(default.count);
    if !enabled {
        table.warn_without_effect(&["idle", "interval", "count"], "with enabled = false");
    }
    enabled.then_some(TcpKeepAlive { idle, interval, count })
}

/// A duration as the kernel counts it. Nothing is rounded.
fn seconds<'d>(table: &mut Table<'d>, key: &'static str) -> Field<'d, Duration> {
    table.field(key, |value| {
        let duration = value.duration(KEEPALIVE_TIMES)?;
        if duration.subsec_nanos() == 0 {
            return Some(duration);
        }
        let remedy = format!("write \"{}s\"", duration.as_secs());
        value.wrong(&Mistake::new("is not a whole number of seconds", remedy));
        None
    })
}
