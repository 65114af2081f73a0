//! The real proxy on real sockets, as clients and backends see it.
//!
//! Everything runs on one thread: the proxy, scripted backends, and clients that write raw bytes.
//! Ports are given by the kernel, nothing sleeps, and every wait has one generous bound.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod support;

mod access;
mod affinity;
mod blame;
mod bodies;
mod bounds;
mod bytes;
mod connect;
mod connections;
mod crowded;
mod discovery;
mod duplex;
mod early;
mod grpc;
mod heads;
mod hedges;
mod edge;
mod ends;
mod health;
mod http2;
mod interim;
mod life;
mod limits;
mod mutual;
mod names;
mod spliced;
mod reload;
mod retries;
mod routes;
mod shared;
mod sockets;
mod spans;
mod steering;
mod streams;
mod strict;
mod timeouts;
mod tls;
mod tunnels;
mod upgrade;
mod uploads;
