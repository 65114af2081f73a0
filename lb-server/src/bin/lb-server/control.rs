//! What a running process is told: signals, a changed file, a call by the admin listener.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread::{Builder, JoinHandle};
use std::time::{Duration, SystemTime};

use lb_config::Config;
use lb_config::config::Address;
use lb_server::platform::os::Os;
use lb_server::shutdown::Trigger;
use lb_server::{Gateway, ReloadCall};
use tokio::sync::{mpsc, oneshot};
use tokio::time::{MissedTickBehavior, interval};

use crate::process::{addresses, taken};
use crate::signals::{Asked, Signals};
use crate::upgrade::Upgrade;
use crate::{descriptors, read, say, supervisor};

/// How long the rest of the access log may take to be written when everything else has ended.
const LOG_TIMEOUT: Duration = Duration::from_secs(5);
/// How long what was learned may take to be written at the end.
const STATE_TIMEOUT: Duration = Duration::from_secs(5);
/// How often the configuration's file is looked at, where that is asked for.
const WATCH_EVERY: Duration = Duration::from_secs(1);

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
    pub(crate) upgrade: Upgrade,
}

impl Control {
    /// Does what it is told until the workers have ended: the first signal drains, a second stops.
    pub(crate) async fn run(
        mut self,
        mut workers: oneshot::Receiver<usize>,
    ) -> Result<Signals, String> {
        let mut looks = interval(WATCH_EVERY);
        looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut seen = self.seen.take();
        let mut certificates = self.certificates();
        loop {
            tokio::select! {
                biased;
                panicked = &mut workers => {
                    return match panicked {
                        Ok(0) => Ok(self.signals),
                        _ => Err("a worker panicked".to_owned()),
                    };
                }
                asked = self.signals.next() => match asked {
                    Asked::End => self.end(),
                    Asked::Stop => self.stop(),
                    Asked::Reload => drop(self.reload("SIGHUP")),
                    Asked::Upgrade if self.trigger.is_leaving() => {
                        say("lb-server: this process is about to end: no successor is started");
                    }
                    Asked::Upgrade => self.upgrade.begin(),
                },
                process = self.upgrade.succeeded() => self.give_way(process),
                Some(call) = self.calls.recv() => {
                    let told = self.reload("the admin listener");
                    // Whoever asked may have left.
                    let _left = call.answer.send(told);
                }
                _ = looks.tick() => {
                    let now = self.file.as_deref().map(Seen::of);
                    if now != seen && self.gateway.snapshot().watches() {
                        drop(self.reload("a change of the file"));
                    }
                    seen = now;
                    let now = self.certificates();
                    if now != certificates {
                        self.reload_certificates();
                    }
                    certificates = now;
                }
            }
        }
    }

    /// Ends when what runs is finished, which it may be doing already since another process serves.
    fn end(&mut self) {
        self.trigger.leave();
        self.upgrade.call_off();
        say("lb-server: finishing what runs; once more to stop at once");
        supervisor::stopping();
    }

    fn stop(&mut self) {
        self.trigger.stop();
        self.upgrade.call_off();
        say("lb-server: stopping at once");
    }

    /// Leaves what is new to another process, which has the same sockets.
    fn give_way(&self, process: u32) {
        self.gateway.succeeded();
        self.trigger.drain();
        say(&format!("lb-server: process {process} serves now; finishing what runs here"));
        supervisor::succeeded_by(process);
    }

    /// What the files look like that the configuration in force names.
    fn certificates(&self) -> Vec<(PathBuf, Seen)> {
        let snapshot = self.gateway.snapshot();
        snapshot.paths().map(|path| (path.clone(), Seen::of(path))).collect()
    }

    /// Reads the certificates anew, and nothing else: the configuration's file may be half written.
    fn reload_certificates(&self) {
        match self.gateway.renew() {
            Ok(()) => {
                say("lb-server: the certificates are in force (a change of their files)");
                self.warn();
            }
            Err(error) => {
                self.gateway.reload_refused(error.to_string());
                say(&format!(
                    "{error}\nlb-server: this is not put in force (a change of a certificate's file); \
                     the certificates before it are served on"
                ));
            }
        }
    }

    fn warn(&self) {
        self.gateway.snapshot().warnings().iter().for_each(|warning| say(warning));
    }

    /// Reads the configuration anew and serves by it, or says why not and changes nothing.
    fn reload(&self, because: &str) -> Result<String, String> {
        supervisor::reloading();
        let done = self.read_anew().inspect_err(|why| self.gateway.reload_refused(why.clone()));
        supervisor::ready();
        match &done {
            Ok(said) => {
                say(&format!("lb-server: {said} ({because})"));
                self.warn();
            }
            Err(why) => say(&format!(
                "{why}\nlb-server: this is not put in force ({because}); \
                 the configuration before it is served on"
            )),
        }
        done
    }

    fn read_anew(&self) -> Result<String, String> {
        let Some(file) = &self.file else {
            return Err("the demo has no configuration file to read anew".to_owned());
        };
        let config = read(file)?;
        self.can_listen(&config)?;
        descriptors::warn_if_few(self.limit, &config);
        let late = self
            .gateway
            .reload(config)
            .map_err(|error| format!("this configuration cannot be served: {error}"))?;
        let late: String =
            late.iter().map(|late| format!("; {late} takes effect at the next start")).collect();
        Ok(format!("{} is in force{late}", file.display()))
    }

    /// Whether the addresses that are new can be had.
    fn can_listen(&self, config: &Config) -> Result<(), String> {
        let before = self.gateway.snapshot();
        let known: Vec<Address> = addresses(before.config()).collect();
        for addr in addresses(config).filter(|addr| !known.contains(addr)) {
            Os::probe(&addr).map_err(|error| taken(&addr, &error))?;
        }
        Ok(())
    }
}

/// What a file looks like without reading it. One that cannot be looked at looks like nothing.
#[derive(PartialEq, Eq)]
pub(crate) struct Seen(Option<Looks>);

/// Who looks the same and is another file has another number, or was changed at another time.
#[derive(PartialEq, Eq)]
struct Looks {
    modified: SystemTime,
    changed: (i64, i64),
    bytes: u64,
    device: u64,
    number: u64,
}

impl Seen {
    pub(crate) fn of(file: &Path) -> Self {
        let looks = |found: fs::Metadata| {
            Ok(Looks {
                modified: found.modified()?,
                changed: (found.ctime(), found.ctime_nsec()),
                bytes: found.len(),
                device: found.dev(),
                number: found.ino(),
            })
        };
        Self(fs::metadata(file).and_then(looks).ok())
    }
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
    say(&format!("lb-server: nobody reads the access log; its last {lost} lines are lost"));
    Ok(())
}
