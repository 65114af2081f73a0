//! SIGUSR2: the program as it lies on the disk now takes the place of this process.

use std::path::PathBuf;
use std::sync::Arc;

use lb_server::platform::os::Os;
use lb_server::platform::os::succession::Successor;

use crate::say;

/// What is needed to be succeeded, and whoever is about to.
pub(crate) struct Upgrade {
    os: Arc<Os>,
    /// Where this program was when it started. A newer one is put in its place.
    program: Option<PathBuf>,
    successor: Option<Successor>,
}

impl Upgrade {
    pub(crate) fn new(os: Arc<Os>) -> Self {
        Self { os, program: std::env::current_exe().ok(), successor: None }
    }

    /// Starts a successor with the arguments of this process, unless one is starting already.
    pub(crate) fn begin(&mut self) {
        if self.successor.is_some() {
            return say("lb-server: a successor is starting already");
        }
        let Some(program) = &self.program else {
            return say("lb-server: it is not known where this program is; nothing changes");
        };
        match Successor::start(&self.os, program, std::env::args_os().skip(1)) {
            Ok(successor) => {
                say(&format!("lb-server: starting {} in place of this process", program.display()));
                self.successor = Some(successor);
            }
            Err(error) => say(&format!(
                "lb-server: cannot start {}: {error}; this process serves on",
                program.display()
            )),
        }
    }

    /// Waits until a successor serves, and says which process it is. Waits for ever without one.
    /// May be dropped and called again.
    pub(crate) async fn succeeded(&mut self) -> u32 {
        while let Some(successor) = &mut self.successor {
            let served = successor.serves().await;
            self.successor = None;
            match served {
                Ok(process) => {
                    self.os.hand_over();
                    return process;
                }
                Err(why) => say(&format!("lb-server: no successor: {why}; this process serves on")),
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
