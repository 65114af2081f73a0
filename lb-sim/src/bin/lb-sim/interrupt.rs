//! Ctrl-C and SIGTERM: what runs stops and says what it has found so far. Who asks twice is let go at once.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use tokio::runtime::Builder;
use tokio::signal::unix::{SignalKind, signal};

/// What a shell is told of a process that a person interrupted.
const INTERRUPTED: i32 = 130;

/// What is true from the first signal on.
pub(crate) fn listen() -> Result<Arc<AtomicBool>, String> {
    let said = |error| format!("signals cannot be listened to: {error}");
    let stop = Arc::new(AtomicBool::new(false));
    let runtime = Builder::new_current_thread().enable_io().build().map_err(said)?;
    let (mut interrupt, mut terminate) = {
        let _entered = runtime.enter();
        let listen = |kind| signal(kind).map_err(said);
        (listen(SignalKind::interrupt())?, listen(SignalKind::terminate())?)
    };
    let heard = stop.clone();
    #[expect(clippy::disallowed_methods, reason = "it runs nothing, and only waits for a person")]
    std::thread::spawn(move || {
        runtime.block_on(async {
            loop {
                tokio::select! {
                    biased;
                    _ = interrupt.recv() => {}
                    _ = terminate.recv() => {}
                }
                if heard.swap(true, Ordering::Relaxed) {
                    std::process::exit(INTERRUPTED);
                }
            }
        });
    });
    Ok(stop)
}
