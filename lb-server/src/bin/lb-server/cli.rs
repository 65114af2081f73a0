//! The command line.

use std::net::SocketAddr;
use std::path::PathBuf;

use clap::Parser;

const EXAMPLES: &str = "\
Examples:
  lb-server                                  three demo backends behind the proxy, to try it out
  lb-server --listen 127.0.0.1:8081          the same on another port
  lb-server --check lb.toml                  what is wrong or doubtful in a configuration
  lb-server --config lb.toml > access.log    serve it; one line of JSON per exchange

Signals: SIGTERM or Ctrl-C finishes what runs and stops; a second one stops at once.
SIGHUP reads the configuration anew: a mistake in it changes nothing.
SIGUSR2 starts the program as it is on the disk now in place of this process, and loses nothing.";

/// A load-balancing reverse proxy. Without arguments it shows itself on demo backends.
#[derive(Debug, Parser)]
#[command(name = "lb-server", version, after_help = EXAMPLES)]
pub(crate) struct Cli {
    /// Serve what this file says
    #[arg(long, value_name = "FILE", conflicts_with_all = ["check", "listen", "admin"])]
    config: Option<PathBuf>,
    /// Say what is wrong or doubtful in this file; exit with 0 if it can be served, else with 1
    #[arg(long, value_name = "FILE", conflicts_with_all = ["listen", "admin"])]
    check: Option<PathBuf>,
    /// Where the demo's proxy listens
    #[arg(long, value_name = "ADDR", default_value = "127.0.0.1:8080")]
    listen: SocketAddr,
    /// Where the demo's admin listener is
    #[arg(long, value_name = "ADDR", default_value = "127.0.0.1:9090")]
    admin: SocketAddr,
}

/// What was asked for.
pub(crate) enum Asked {
    Check(PathBuf),
    Serve(PathBuf),
    Demo { listen: SocketAddr, admin: SocketAddr },
}

impl Cli {
    pub(crate) fn asked(self) -> Asked {
        match (self.check, self.config) {
            (Some(file), _) => Asked::Check(file),
            (None, Some(file)) => Asked::Serve(file),
            (None, None) => Asked::Demo { listen: self.listen, admin: self.admin },
        }
    }
}
