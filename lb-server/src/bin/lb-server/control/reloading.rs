//! The configuration and the files that it names, read anew while the process serves.
//!
//! All files are read [`aside`](super::aside), and then put in force at once. Certificates are renewed
//! one by one: what is bad stays as it was, is told once, and is tried again.

use std::collections::{BTreeMap, BTreeSet};
use std::convert::Infallible;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use lb_config::config::Address;
use lb_config::{Config, Source};
use lb_server::platform::os::Os;
use lb_server::shutdown::Trigger;
use lb_server::{Gateway, ReloadCall, Renewal, Snapshot, tls};
use tokio::sync::{Notify, mpsc};
use tokio::time::{Instant, MissedTickBehavior, interval};

use super::aside::{Aside, answer, silence};
use crate::process::{places, taken};
use crate::{configuration, descriptors, say, supervisor};

/// How often files are looked at.
const WATCH_EVERY: Duration = Duration::from_secs(1);
/// How long it takes at first until bad certificates are tried again, and at most.
const PAUSES: [Duration; 2] = [Duration::from_secs(1), Duration::from_secs(60)];

/// Reads anew what changes, and what it is told to.
pub(super) struct Reloading<'t> {
    pub(super) trigger: &'t Trigger,
    pub(super) gateway: Arc<Gateway>,
    pub(super) os: Arc<Os>,
    pub(super) calls: mpsc::Receiver<ReloadCall>,
    pub(super) hangup: Arc<Notify>,
    /// The configuration's file, if there is one.
    pub(super) file: Option<PathBuf>,
    /// What it looked like last.
    pub(super) seen: Option<Seen>,
    /// How many files may be open.
    pub(super) limit: Option<u64>,
    pub(super) aside: Aside,
    /// What the files looked like that the configuration in force names. At first nobody knows, so
    /// that what changed while the process began is not missed.
    pub(super) certificates: BTreeMap<PathBuf, Option<Seen>>,
    /// When bad ones are tried again, and how long that was after the last time.
    pub(super) again: Option<(Instant, Duration)>,
}

impl Reloading<'_> {
    /// For as long as the process lives.
    pub(super) async fn run(mut self) -> Infallible {
        let mut looks = interval(WATCH_EVERY);
        looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                biased;
                () = self.hangup.notified() => drop(self.reload("SIGHUP").await),
                Some(call) = self.calls.recv() => {
                    let told = self.reload("the admin listener").await;
                    // Whoever asked may have left.
                    let _left = call.answer.send(told);
                }
                _ = looks.tick() => self.look().await,
            }
        }
    }

    /// Looks whether a file is another one.
    async fn look(&mut self) {
        let certificates: BTreeSet<PathBuf> = self.gateway.snapshot().paths().cloned().collect();
        let files = self.file.iter().chain(&certificates).cloned().collect();
        let mut looks = self.aside.each(files, Seen::of).await;
        if let Some(now) = self.file.as_ref().and_then(|file| looks.remove(file)) {
            let before = self.seen.replace(now);
            if before != self.seen && self.gateway.snapshot().watches() {
                drop(self.reload("a change of the file").await);
            }
        }
        let certificates: BTreeMap<PathBuf, Option<Seen>> = certificates
            .into_iter()
            .map(|file| {
                let seen = looks.remove(&file);
                (file, seen)
            })
            .collect();
        let has_changed = certificates != self.certificates;
        self.certificates = certificates;
        if has_changed {
            self.again = None;
        }
        if has_changed || self.again.is_some_and(|(at, _)| at <= Instant::now()) {
            self.renew().await;
        }
    }

    /// Reads the certificates anew, and nothing else: the configuration's file may be half written.
    async fn renew(&mut self) {
        let files = self.gateway.snapshot().paths().cloned().collect();
        let files = self.aside.each(files, tls::read).await;
        let Renewal { changed, problems, is_new } =
            self.gateway.renew(&|file| answer(&files, file));
        match &problems {
            Some(problems) if is_new => say(&format!(
                "{problems}\nlb-server: this is not put in force (a change of a certificate's file); \
                 the certificates before it are served on, and it is tried again"
            )),
            None if is_new && !changed => {
                say("lb-server: the certificates can be read again, and are as before");
            }
            _ => {}
        }
        if changed {
            say("lb-server: the certificates are in force (a change of their files)");
            self.warn();
        }
        self.again = problems.map(|_| {
            let [first, longest] = PAUSES;
            let pause = self.again.map_or(first, |(_, pause)| (pause * 2).min(longest));
            (Instant::now() + pause, pause)
        });
    }

    fn warn(&self) {
        self.gateway.snapshot().warnings().iter().for_each(|warning| say(warning));
    }

    /// Reads the configuration anew and serves by it, or says why not and changes nothing.
    async fn reload(&self, because: &str) -> Result<String, String> {
        supervisor::reloading();
        let done = self.read_anew().await;
        let done = done.inspect_err(|why| self.gateway.reload_refused(why.clone()));
        if !self.trigger.is_leaving() {
            supervisor::ready();
        }
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

    async fn read_anew(&self) -> Result<String, String> {
        let Some(file) = &self.file else {
            return Err("the demo has no configuration file to read anew".to_owned());
        };
        if self.gateway.takes_nothing_new() {
            return Err(
                "this process finishes what runs and takes nothing new: it is too late for \
                 another configuration"
                    .to_owned(),
            );
        }
        let name = file.display().to_string();
        let mut read = self.aside.each(BTreeSet::from([file.clone()]), |file| fs::read(file)).await;
        let text = lb_config::text(&name, read.remove(file).unwrap_or_else(|| Err(silence())))?;
        let config = configuration(&Source { name: &name, text: &text })?;
        self.can_listen(&config)?;
        descriptors::warn_if_few(self.limit, &config);
        let files = Snapshot::files(&config).cloned().collect();
        let files = self.aside.each(files, tls::read).await;
        let ahead = self.gateway.look_ahead(&config).await;
        let late = self
            .gateway
            .reload_with(config, &ahead, &|file| answer(&files, file))
            .map_err(|error| format!("this configuration cannot be served: {error}"))?;
        let late: String =
            late.iter().map(|late| format!("; {late} takes effect at the next start")).collect();
        let unfound = self.gateway.unfound();
        let unfound: String =
            unfound.iter().map(|source| format!("; nothing is found yet by {source}")).collect();
        Ok(format!("{name} is in force{late}{unfound}"))
    }

    /// Whether the addresses that are new can be had.
    fn can_listen(&self, config: &Config) -> Result<(), String> {
        let before = self.gateway.snapshot();
        let known: Vec<Address> = places(before.config()).map(|place| place.addr).collect();
        for place in places(config).filter(|place| !known.contains(&place.addr)) {
            self.os.probe(&place).map_err(|error| taken(&place.addr, &error))?;
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
