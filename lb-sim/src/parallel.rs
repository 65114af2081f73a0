//! The same work many times over, on as many threads as there are cores.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::mpsc::sync_channel;

/// Results that wait to be looked at.
const DONE_MAX: usize = 64;

/// Does `work` for each number below `count`, `jobs` at a time or one per core, and tells of each as it is
/// done.
pub fn each<T: Send>(
    count: usize,
    jobs: Option<u16>,
    work: impl Fn(usize) -> T + Sync,
    told: impl FnMut(usize, T),
) {
    until(count, jobs, &AtomicBool::new(false), work, told);
}

/// The same, until all is done or somebody says `stop`.
pub fn until<T: Send>(
    count: usize,
    jobs: Option<u16>,
    stop: &AtomicBool,
    work: impl Fn(usize) -> T + Sync,
    mut told: impl FnMut(usize, T),
) {
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let jobs = jobs.map_or(cores, usize::from).min(count);
    let next = AtomicUsize::new(0);
    let (send, receive) = sync_channel(DONE_MAX);
    #[expect(clippy::disallowed_methods, reason = "each run keeps to one thread")]
    std::thread::scope(|scope| {
        for _ in 0..jobs {
            let (send, next, work) = (send.clone(), &next, &work);
            scope.spawn(move || {
                loop {
                    let at = next.fetch_add(1, Ordering::Relaxed);
                    let is_over = at >= count || stop.load(Ordering::Relaxed);
                    if is_over || send.send((at, work(at))).is_err() {
                        return; // all is done, or nobody counts any more
                    }
                }
            });
        }
        drop(send);
        receive.into_iter().for_each(|(at, done)| told(at, done));
    });
}
