//! A proxy, scripted backends and raw clients, on one thread.

mod backend;
mod client;
mod dns;
pub(crate) mod h2;
mod proxy;

use std::cell::RefCell;
use std::future::Future;
use std::panic;
use std::sync::Once;
use std::time::Duration;

pub(crate) use backend::{Backend, Nobody, Request, Script, read_head, read_request};
pub(crate) use client::{Answer, Client};
pub(crate) use dns::Dns;
pub(crate) use proxy::Proxy;

/// A test that takes longer hangs.
const TEST_MAX: Duration = Duration::from_secs(60);

thread_local! {
    /// The first panic on this thread. Those of tasks end nothing but the task, and nobody would hear of them.
    static PANICKED: RefCell<Option<String>> = const { RefCell::new(None) };
}

/// Listens for panics, whichever test comes first.
fn listen() {
    static LISTEN: Once = Once::new();
    LISTEN.call_once(|| {
        let before = panic::take_hook();
        panic::set_hook(Box::new(move |info| {
            PANICKED.with_borrow_mut(|first| first.get_or_insert_with(|| info.to_string()).len());
            before(info);
        }));
    });
}

/// Runs one test on a runtime of its own. Everybody in it is on one thread, and none of them may panic.
pub(crate) fn run(test: impl Future<Output = ()>) {
    run_within(TEST_MAX, test);
}

/// The same for a test that stops the clock, and has more time go by than it takes.
pub(crate) fn run_within(most: Duration, test: impl Future<Output = ()>) {
    listen();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let local = tokio::task::LocalSet::new();
    local.block_on(&runtime, async {
        tokio::time::timeout(most, test).await.expect("the test hangs");
    });
    assert_eq!(PANICKED.take(), None, "a task panicked");
}

/// Lets everybody else run until `done` says so.
pub(crate) async fn until(done: impl Fn() -> bool) {
    while !done() {
        tokio::task::yield_now().await;
    }
}

/// Bytes among which none that was left out or put elsewhere goes unnoticed.
pub(crate) fn noise(size: u32) -> Vec<u8> {
    (0..size).map(|n| (n.wrapping_mul(2_654_435_761) >> 24) as u8).collect()
}
