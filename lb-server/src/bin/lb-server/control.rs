//! What a running process is told: signals, a changed file, a call by the admin listener.

mod aside;
mod reloading;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread::{Builder, JoinHandle};
use std::time::Duration;

use lb_server::platform::os::inheritance::Predecessor;
use lb_server::shutdown::Trigger;
use lb_server::{Gateway, ReloadCall};
use tokio::sync::{Notify, mpsc, oneshot};

use self::aside::Aside;
use self::reloading::Reloading;
pub(crate) use self::reloading::Seen;
use crate::memory::Keeper;
use crate::signals::{Asked, Signals};
use crate::upgrade::Upgrade;
use crate::{say, supervisor};

/// How long the rest of the access log may take to be written when everything else has ended.
const LOG_TIMEOUT: Duration = Duration::from_secs(5);
/// How long what was learned may take to be written at the end.
const STATE_TIMEOUT: Duration = Duration::from_secs(5);

/// Everything that a running process is told, in one place.
pub(crate) struct Control {
    pub(crate) gateway: Arc<Gateway>,
    pub(crate) trigger: Trigger,
    pub(crate) signals: Signals,
    pub(crate) calls: mpsc::Receiver<ReloadCall>,
    /// The configuration's file, if there is one.
    pub(crate) file: Option<PathBuf>,
    /// What it looked like when the process began.
    pub(crate) seen: Option<Seen>,
    /// How many files may be open.
    pub(crate) limit: Option<u64>,
    /// Who serves until this process does.
    pub(crate) predecessor: Option<Predecessor>,
    pub(crate) keeper: Keeper,
    pub(crate) upgrade: Upgrade,
}

impl Control {
    /// Does what it is told until the workers have ended: the first signal drains, a second stops.
    pub(crate) async fn run(
        self,
        mut workers: oneshot::Receiver<usize>,
    ) -> Result<Signals, String> {
        let Self { gateway, trigger, mut signals, calls, file, seen, limit, .. } = self;
        let Self { predecessor, keeper, mut upgrade, .. } = self;
        let hangup = Arc::new(Notify::new());
        let reloading = Reloading {
            trigger: &trigger,
            gateway: Arc::clone(&gateway),
            os: Arc::clone(&upgrade.os),
            calls,
            hangup: Arc::clone(&hangup),
            file,
            seen,
            limit,
            aside: Aside::default(),
            certificates: BTreeMap::new(),
            again: None,
        };
        let mut reloading = pin!(reloading.run());
        let mut beginning = pin!(begin(&gateway, predecessor, &keeper));
        let mut begun = false;
        loop {
            tokio::select! {
                biased;
                panicked = &mut workers => {
                    return match panicked {
                        Ok(0) => Ok(signals),
                        _ => Err("a worker panicked".to_owned()),
                    };
                }
                asked = signals.next() => match asked {
                    Asked::End => end(&mut upgrade, &trigger),
                    Asked::Stop => stop(&mut upgrade, &trigger),
                    // It is heard while another reload is going on as well, and once is enough then.
                    Asked::Reload => hangup.notify_one(),
                    Asked::Upgrade if trigger.is_leaving() => {
                        say("lb-server: this process is about to end: no successor is started");
                    }
                    Asked::Upgrade => upgrade.begin(&gateway),
                },
                () = &mut beginning, if !begun => begun = true,
                process = upgrade.succeeded() => give_way(&gateway, &trigger, process),
                never = &mut reloading => match never {},
            }
        }
    }
}

/// Tells whoever has to know that this process serves, once it knows whom to send requests to.
async fn begin(gateway: &Gateway, predecessor: Option<Predecessor>, keeper: &Keeper) {
    gateway.settled().await;
    keeper.begin();
    supervisor::ready();
    // One that is gone has given way already.
    let _gone = predecessor.map(Predecessor::give_way);
}

/// Ends when what runs is finished, which it may be doing already since another process serves.
fn end(upgrade: &mut Upgrade, trigger: &Trigger) {
    trigger.leave();
    upgrade.call_off();
    say("lb-server: finishing what runs; once more to stop at once");
    supervisor::stopping();
}

fn stop(upgrade: &mut Upgrade, trigger: &Trigger) {
    trigger.stop();
    upgrade.call_off();
    say("lb-server: stopping at once");
}

/// Leaves what is new to another process, which has the same sockets.
fn give_way(gateway: &Gateway, trigger: &Trigger, process: u32) {
    gateway.succeeded();
    trigger.drain();
    say(&format!("lb-server: process {process} serves now; finishing what runs here"));
    supervisor::succeeded_by(process);
}

/// Waits for threads to end on a thread of its own, since joining blocks and signals must be heard.
/// Says how many of them panicked.
pub(crate) fn join(
    name: &str,
    threads: Vec<JoinHandle<()>>,
) -> Result<oneshot::Receiver<usize>, String> {
    let (ended, all_ended) = oneshot::channel();
    #[expect(clippy::disallowed_methods, reason = "joining threads blocks")]
    let joining = Builder::new().name(format!("join-{name}")).spawn(move || {
        let panicked = threads.into_iter().filter_map(|thread| thread.join().err()).count();
        // Nobody waits any more when the process stops at once.
        let _unheard = ended.send(panicked);
    });
    joining.map(|_| all_ended).map_err(|error| format!("cannot start a thread: {error}"))
}

/// Waits until what was learned is written for the last time, for a bounded time: the disk may hang.
pub(crate) async fn written(keeper: oneshot::Receiver<usize>) {
    if !matches!(tokio::time::timeout(STATE_TIMEOUT, keeper).await, Ok(Ok(0))) {
        say("lb-server: warning: what was learned last is not written");
    }
}

/// Waits until the rest of the access log is written, for a bounded time or until a signal says to stop
/// at once: whoever reads standard output may have stopped reading.
pub(crate) async fn until_written(
    signals: &mut Signals,
    mut writer: oneshot::Receiver<usize>,
    waiting: &AtomicU64,
) -> Result<(), String> {
    tokio::select! {
        biased;
        panicked = &mut writer => {
            return match panicked {
                Ok(0) => Ok(()),
                _ => Err("the access log's thread panicked".to_owned()),
            };
        }
        () = tokio::time::sleep(LOG_TIMEOUT) => {}
        () = signals.stop() => {}
    }
    let lost = waiting.load(Ordering::Relaxed);
    if lost > 0 {
        say(&format!("lb-server: nobody reads the access log; its last {lost} lines are lost"));
    }
    Ok(())
}
