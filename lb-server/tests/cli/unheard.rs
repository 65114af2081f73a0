//! Nobody takes what the process says, or gives what it waits for: it serves on, and it ends.

use std::fs::{self, OpenOptions};
use std::io::{ErrorKind, Read, Write};
use std::os::fd::OwnedFd;
use std::os::unix::fs::OpenOptionsExt;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use nix::libc::O_NONBLOCK;
use socket2::{Domain, SockAddr, Socket, Type};

use crate::load::backend;
use crate::process::{Process, ask, ends, file, get, kill, lb_server};

/// A process that listens at a path, since it cannot say where else.
struct Unheard {
    child: Child,
    path: PathBuf,
    /// What nobody reads.
    _said: UnixStream,
}

impl Unheard {
    fn start(config: &str, path: PathBuf) -> Self {
        let (full, said) = full();
        let mut command = lb_server(&["--config", config]);
        command.stdout(Stdio::null()).stderr(OwnedFd::from(full));
        Self { child: command.spawn().unwrap(), path, _said: said }
    }

    /// The answer to a GET, as soon as somebody gives one.
    fn get(&self, host: &str) -> String {
        loop {
            #[expect(clippy::disallowed_methods, reason = "a client is outside of the proxy")]
            let Ok(mut stream) = UnixStream::connect(&self.path) else {
                std::thread::yield_now();
                continue;
            };
            let ask = format!("GET /a HTTP/1.1\r\nhost: {host}\r\nconnection: close\r\n\r\n");
            stream.write_all(ask.as_bytes()).unwrap();
            let mut answer = String::new();
            stream.read_to_string(&mut answer).unwrap();
            return answer;
        }
    }
}

impl Drop for Unheard {
    fn drop(&mut self) {
        // It has usually ended by itself.
        let _ended = self.child.kill();
    }
}

/// Something to write to that takes no byte more, and whoever could read it.
fn full() -> (UnixStream, UnixStream) {
    let (mut full, said) = UnixStream::pair().unwrap();
    full.set_nonblocking(true).unwrap();
    for piece in [&[b'.'; 4096][..], b"."] {
        while full.write(piece).map_err(|error| error.kind()) != Err(ErrorKind::WouldBlock) {}
    }
    // Who writes waits for room.
    full.set_nonblocking(false).unwrap();
    (full, said)
}

fn config(path: &Path, host: &str) -> String {
    format!(
        "[server]\nworkers = 2\n[admin]\nenabled = false\n[access_log]\nenabled = false\n\
         [[listener]]\nbind = \"unix:{}\"\n\
         [[service]]\nname = \"web\"\nhosts = [\"{host}\"]\n\
         [[service.pool]]\nbackends = [{{ url = \"http://{}\" }}]\n",
        path.display(),
        backend()
    )
}

#[test]
fn a_standard_error_that_nobody_reads_neither_keeps_a_process_from_serving_nor_from_ending() {
    let path = std::env::temp_dir().join(format!("lb-unheard-{}.sock", std::process::id()));
    let name = file("unheard.toml", &config(&path, "old.test"));
    let mut process = Unheard::start(&name, path.clone());
    assert!(process.get("old.test").ends_with("\r\n\r\n/a"), "it serves, and could not say so");
    fs::write(&name, config(&path, "new.test")).unwrap();
    kill("-HUP", process.child.id());
    while process.get("new.test").starts_with("HTTP/1.1 404 ") {}
    assert!(process.get("new.test").ends_with("\r\n\r\n/a"), "it does what it is told");
    kill("-TERM", process.child.id());
    assert!(ends(&mut process.child).success());
    assert!(!path.exists());
}

/// Whoever shares standard output may have said that a write is not to wait.
#[test]
fn a_log_that_may_not_wait_is_written_when_it_is_read() {
    let text = format!(
        "[server]\nworkers = 1\n[admin]\nenabled = false\n[[listener]]\nbind = \"127.0.0.1:0\"\n\
         [[service]]\nname = \"web\"\nhosts = [\"elsewhere.test\"]\n\
         [[service.pool]]\nbackends = [{{ url = \"http://{}\" }}]\n",
        backend()
    );
    let (out, mut reader) = UnixStream::pair().unwrap();
    out.set_nonblocking(true).unwrap();
    let mut command = lb_server(&["--config", &file("unwaiting.toml", &text)]);
    let mut process = Process::run(command.stdout(OwnedFd::from(out)));
    drop(command);
    let proxy = process.addr("listening at http://");
    // More lines than the socket holds.
    let request = "GET / HTTP/1.1\r\nhost: a\r\n\r\n".repeat(2_999);
    let last = "GET / HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n";
    let answers = ask(proxy, &format!("{request}{last}"));
    assert_eq!(answers.matches("HTTP/1.1 404 ").count(), 3_000);
    process.terminate();
    let mut log = String::new();
    reader.read_to_string(&mut log).unwrap();
    assert_eq!(log.lines().filter(|line| line.ends_with('}')).count(), 3_000);
    assert!(ends(&mut process.child).success());
    let said = process.last_words();
    assert!(!said.contains("lost"), "{said}");
}

#[test]
fn a_disk_that_hangs_does_not_keep_a_process_from_ending() {
    // What an earlier run left hangs still.
    let _old = fs::remove_file(Path::new(env!("CARGO_TARGET_TMPDIR")).join("hangs.json"));
    let list = file("hangs.json", &format!("[{{\"url\":\"http://{}\"}}]", backend()));
    let text = format!(
        "[server]\nworkers = 1\n[admin]\nenabled = false\n[[listener]]\nbind = \"127.0.0.1:0\"\n\
         [[service]]\nname = \"web\"\nhosts = [\"*\"]\n\
         [[service.pool]]\ndiscover = {{ file = \"{list}\", every = \"100ms\" }}\n"
    );
    let mut process = Process::start_with(&["--config", &file("hangs.toml", &text)]);
    let proxy = process.addr("listening at http://");
    assert!(get(proxy, "/a").ends_with("\r\n\r\n/a"));
    // Whoever reads it waits for somebody to write.
    let hangs = format!("{list}.fifo");
    let _old = fs::remove_file(&hangs);
    assert!(Command::new("mkfifo").arg(&hangs).status().unwrap().success());
    fs::rename(&hangs, &list).unwrap();
    let _writer = loop {
        // It can be opened in this way as soon as somebody reads.
        match OpenOptions::new().write(true).custom_flags(O_NONBLOCK).open(&list) {
            Ok(writer) => break writer,
            Err(_) => std::thread::yield_now(),
        }
    };
    process.terminate();
    assert!(ends(&mut process.child).success());
}

#[test]
fn a_socket_whose_owner_accepts_nobody_is_taken_and_keeps_no_one() {
    let path = std::env::temp_dir().join(format!("lb-wedged-{}.sock", std::process::id()));
    let addr = SockAddr::unix(&path).unwrap();
    let wedged = Socket::new(Domain::UNIX, Type::STREAM, None).unwrap();
    wedged.bind(&addr).unwrap();
    wedged.listen(0).unwrap();
    let mut waiting = Vec::new();
    loop {
        let client = Socket::new(Domain::UNIX, Type::STREAM, None).unwrap();
        client.set_nonblocking(true).unwrap();
        match client.connect(&addr) {
            Ok(()) => waiting.push(client),
            Err(error) => break assert_eq!(error.kind(), ErrorKind::WouldBlock),
        }
    }
    let name = file("wedged.toml", &config(&path, "*"));
    let mut process = Process::start_with(&["--config", &name]);
    assert_eq!(ends(&mut process.child).code(), Some(1));
    let said = process.last_words();
    assert!(said.contains("cannot listen at") && said.contains("somebody else does"), "{said}");
    fs::remove_file(path).unwrap();
}
