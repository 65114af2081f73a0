//! Where hyper runs what it needs to run beside us: on this thread.

use std::future::Future;

use hyper::rt::Executor;

/// Runs tasks on the worker's own thread.
#[derive(Clone, Copy, Debug)]
pub struct Here;

impl<F: Future<Output = ()> + 'static> Executor<F> for Here {
    fn execute(&self, task: F) {
        tokio::task::spawn_local(task);
    }
}
