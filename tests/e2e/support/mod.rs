//! A proxy, scripted backends and raw clients, on one thread.

mod backend;
mod client;
mod dns;
pub(crate) mod h2;
mod proxy;

use std::future::Future;
use std::time::Duration;

pub(crate) use backend::{Backend, Nobody, Script, read_head, read_request};
pub(crate) use client::{Answer, Client};
pub(crate) use dns::Dns;
pub(crate) use proxy::Proxy;

/// A test that takes longer hangs.
const TEST_MAX: Duration = Duration::from_secs(60);

/// Runs one test on a runtime of its own.
pub(crate) fn run(test: impl Future<Output = ()>) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let local = tokio::task::LocalSet::new();
    local.block_on(&runtime, async {
        tokio::time::timeout(TEST_MAX, test).await.expect("the test hangs");
    });
}

/// Lets everybody else run until `done` says so.
pub(crate) async fn until(done: impl Fn() -> bool) {
    while !done() {
        tokio::task::yield_now().await;
    }
}
