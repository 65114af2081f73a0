//! A process of the binary, and how a test talks to it.

use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::PathBuf;
use std::process::{Child, ChildStderr, Command, ExitStatus, Output, Stdio};
use std::sync::mpsc::sync_channel;
use std::time::Duration;

/// A process that takes longer to end never will.
const END_MAX: Duration = Duration::from_secs(30);
const LOOK_EVERY: Duration = Duration::from_millis(10);

/// A configuration that can be served.
pub(crate) const GOOD: &str = r#"
[[listener]]
bind = "127.0.0.1:0"

[[service]]
name = "web"
hosts = ["*"]

[[service.pool]]
backends = [{ url = "http://10.0.0.1:3000" }, { url = "http://10.0.0.2:3000" }]
"#;

pub(crate) fn lb_server(args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_lb-server"));
    command.args(args).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

/// Runs it to its end: how it ended, and what it said about it.
pub(crate) fn run(args: &[&str]) -> (Option<i32>, String) {
    let Output { status, stdout, stderr } = lb_server(args).output().unwrap();
    (status.code(), [stdout, stderr].map(|said| String::from_utf8(said).unwrap()).concat())
}

/// Writes a file, and says where.
pub(crate) fn file(name: &str, text: &str) -> String {
    let path = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(name);
    fs::write(&path, text).unwrap();
    path.display().to_string()
}

/// A running process, killed when a test ends early.
pub(crate) struct Process {
    pub(crate) child: Child,
    pub(crate) said: BufReader<ChildStderr>,
}

impl Process {
    pub(crate) fn start() -> Self {
        Self::start_with(&["--listen", "127.0.0.1:0", "--admin", "127.0.0.1:0"])
    }

    pub(crate) fn start_with(args: &[&str]) -> Self {
        Self::run(&mut lb_server(args))
    }

    pub(crate) fn run(command: &mut Command) -> Self {
        let mut child = command.spawn().unwrap();
        let said = BufReader::new(child.stderr.take().expect("standard error is piped"));
        Self { child, said }
    }

    /// The address in the next line that has `before` in it.
    pub(crate) fn addr(&mut self, before: &str) -> SocketAddr {
        loop {
            let mut line = String::new();
            assert_ne!(self.said.read_line(&mut line).unwrap(), 0, "it ended before {before:?}");
            if let Some((_, addr)) = line.trim_end().split_once(before) {
                return addr.parse().unwrap();
            }
        }
    }

    /// Sends SIGTERM.
    pub(crate) fn terminate(&self) {
        self.signal("-TERM");
    }

    /// Sends a signal.
    pub(crate) fn signal(&self, signal: &str) {
        kill(signal, self.child.id());
    }

    /// What it says up to the line that has `last` in it.
    pub(crate) fn says(&mut self, last: &str) -> String {
        let mut said = String::new();
        while !said.contains(last) {
            assert_ne!(
                self.said.read_line(&mut said).unwrap(),
                0,
                "it ended before {last:?}: {said}"
            );
        }
        said
    }

    /// All that it says from now on.
    pub(crate) fn last_words(&mut self) -> String {
        let mut words = String::new();
        self.said.read_to_string(&mut words).unwrap();
        words
    }

    /// Has it finish, and returns its access log.
    pub(crate) fn finish(mut self) -> Vec<String> {
        self.terminate();
        let mut log = String::new();
        let mut stdout = self.child.stdout.take().expect("standard output is piped");
        stdout.read_to_string(&mut log).unwrap();
        assert!(self.child.wait().unwrap().success(), "a drained process has not failed");
        log.lines().map(str::to_owned).collect()
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // It has usually ended by itself.
        let _ended = self.child.kill();
    }
}

/// How a process ended, which it has to do in good time.
pub(crate) fn ends(child: &mut Child) -> ExitStatus {
    let (_nobody, nothing) = sync_channel::<()>(1);
    for _ in 0..END_MAX.as_millis() / LOOK_EVERY.as_millis() {
        if let Some(status) = child.try_wait().unwrap() {
            return status;
        }
        let _not_yet = nothing.recv_timeout(LOOK_EVERY);
    }
    panic!("it has not ended within {END_MAX:?}");
}

/// Sends a signal to a process.
pub(crate) fn kill(signal: &str, process: u32) {
    assert!(Command::new("kill").args([signal, &process.to_string()]).status().unwrap().success());
}

/// The whole answer to a request on a connection of its own.
pub(crate) fn ask(addr: SocketAddr, head: &str) -> String {
    #[expect(clippy::disallowed_methods, reason = "a client is outside of the proxy")]
    let mut stream = TcpStream::connect(addr).unwrap();
    stream.write_all(head.as_bytes()).unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    answer
}

/// The whole answer to a GET on a connection of its own.
pub(crate) fn get(addr: SocketAddr, path: &str) -> String {
    ask(addr, &format!("GET {path} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n"))
}
