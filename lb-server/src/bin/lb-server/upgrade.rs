//! SIGUSR2: the program as it lies on the disk now takes the place of this process.

use std::env::{args_os, current_exe, split_paths, var_os};
use std::fs;
use std::path::{PathBuf, absolute};
use std::sync::Arc;

use lb_server::platform::os::Os;
use lb_server::platform::os::succession::Successor;
use tokio::sync::oneshot;
use tokio::time::{Instant, timeout_at};

use crate::control::STATE_TIMEOUT;
use crate::memory::Keeper;
use crate::say;

/// What is needed to be succeeded, and whoever is about to.
pub(crate) struct Upgrade {
    pub(crate) os: Arc<Os>,
    keeper: Keeper,
    /// Where this program was when it started. A newer one is put in its place.
    program: Option<PathBuf>,
    step: Step,
}

/// How far the way to a successor is gone.
enum Step {
    None,
    /// What was learned is being written, for the successor to begin with.
    Writing {
        written: oneshot::Receiver<()>,
        until: Instant,
    },
    Starting(Box<Successor>),
}

impl Upgrade {
    pub(crate) fn new(os: Arc<Os>, keeper: Keeper, program: Option<PathBuf>) -> Self {
        Self { os, keeper, program, step: Step::None }
    }

    /// Begins to be succeeded, unless a successor is starting already: [`succeeded`](Self::succeeded) goes on.
    pub(crate) fn begin(&mut self) {
        if !matches!(self.step, Step::None) {
            return say("lb-server: a successor is starting already");
        }
        let until = Instant::now() + STATE_TIMEOUT;
        self.step = Step::Writing { written: self.keeper.write(), until };
    }

    /// Waits until a successor serves, and says which process it is. Waits for ever without one.
    /// May be dropped and called again.
    pub(crate) async fn succeeded(&mut self) -> u32 {
        loop {
            match &mut self.step {
                Step::None => return std::future::pending().await,
                Step::Writing { written, until } => {
                    if !matches!(timeout_at(*until, written).await, Ok(Ok(()))) {
                        say("lb-server: warning: what was learned last is not written; \
                             a successor begins without it");
                    }
                    self.step = self.start();
                }
                Step::Starting(successor) => {
                    let served = successor.serves().await;
                    self.step = Step::None;
                    match served {
                        Ok(process) => {
                            self.os.hand_over();
                            return process;
                        }
                        Err(why) => {
                            say(&format!("lb-server: no successor: {why}; this process serves on"));
                        }
                    }
                }
            }
        }
    }

    /// Starts a successor with the arguments of this process.
    fn start(&self) -> Step {
        let Some(program) = &self.program else {
            say("lb-server: it is not known where this program is; nothing changes");
            return Step::None;
        };
        let name = program.display();
        match Successor::start(&self.os, program, args_os().skip(1)) {
            Ok(successor) => {
                say(&format!("lb-server: starting {name} in place of this process"));
                Step::Starting(Box::new(successor))
            }
            Err(error) => {
                say(&format!("lb-server: cannot start {name}: {error}; this process serves on"));
                Step::None
            }
        }
    }

    /// Ends a successor that does not serve yet: the service is to end.
    pub(crate) fn call_off(&mut self) {
        if let Step::Starting(mut successor) = std::mem::replace(&mut self.step, Step::None)
            && let Err(error) = successor.end()
        {
            say(&format!("lb-server: the successor cannot be ended: {error}"));
        }
    }
}

/// Where this program was found by whoever started it, links and all: they may lead to a newer one when it
/// is started again, and so it is asked for first of all. What the process was told that it is called counts
/// if this very program is there.
pub(crate) fn program() -> Option<PathBuf> {
    let running = current_exe().ok()?;
    let said = PathBuf::from(args_os().next().unwrap_or_default());
    let folders = match said.components().count() {
        // As a shell finds it.
        1 if !said.has_root() => var_os("PATH").unwrap_or_default(),
        _ => "".into(),
    };
    let is_this = |file: &PathBuf| fs::canonicalize(file).is_ok_and(|found| found == running);
    let found = split_paths(&folders).map(|folder| folder.join(&said)).find(is_this);
    Some(found.and_then(|found| absolute(found).ok()).unwrap_or(running))
}
