//! SIGUSR2: the program as it lies on the disk now takes the place of this process.

use std::env::{args_os, current_exe, split_paths, var_os};
use std::fs;
use std::path::{PathBuf, absolute};
use std::sync::Arc;

use lb_server::platform::os::Os;
use lb_server::platform::os::succession::Successor;
use lb_server::{Gateway, state};

use crate::say;

/// What is needed to be succeeded, and whoever is about to.
pub(crate) struct Upgrade {
    pub(crate) os: Arc<Os>,
    /// Where this program was when it started. A newer one is put in its place.
    program: Option<PathBuf>,
    successor: Option<Successor>,
}

impl Upgrade {
    pub(crate) fn new(os: Arc<Os>, program: Option<PathBuf>) -> Self {
        Self { os, program, successor: None }
    }

    /// Starts a successor with the arguments of this process and what `gateway` has learned, unless one is
    /// starting already.
    pub(crate) fn begin(&mut self, gateway: &Gateway) {
        if self.successor.is_some() {
            return say("lb-server: a successor is starting already");
        }
        let Some(program) = &self.program else {
            return say("lb-server: it is not known where this program is; nothing changes");
        };
        let (name, learned) = (program.display(), state::save(gateway));
        match Successor::start(&self.os, program, args_os().skip(1), &learned) {
            Ok(successor) => {
                say(&format!("lb-server: starting {name} in place of this process"));
                self.successor = Some(successor);
            }
            Err(error) => {
                say(&format!("lb-server: cannot start {name}: {error}; this process serves on"));
            }
        }
    }

    /// Waits until a successor serves, and says which process it is. Waits for ever without one.
    /// May be dropped and called again.
    pub(crate) async fn succeeded(&mut self) -> u32 {
        if let Some(successor) = &mut self.successor {
            let served = successor.serves().await;
            self.successor = None;
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
        std::future::pending().await
    }

    /// Ends a successor that does not serve yet: the service is to end.
    pub(crate) fn call_off(&mut self) {
        if let Some(mut successor) = self.successor.take()
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
