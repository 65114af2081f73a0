//! Another process in place of a running one, under load.

use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, UdpSocket};
use std::os::unix::fs::{PermissionsExt, symlink};
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use command_fds::{CommandFdExt, FdMapping};

use crate::load::{Load, Manner, Target, backend, spawn};
use crate::process::{Process, ends, file, get, kill, lb_server};

fn config(listeners: &str, backend: &str) -> String {
    format!(
        "[server]\nworkers = 2\n[admin]\nbind = \"127.0.0.1:0\"\n[access_log]\nenabled = false\n\
         [[listener]]\nbind = \"127.0.0.1:0\"\n{listeners}\n\
         [[service]]\nname = \"web\"\nhosts = [\"*\"]\n\
         [[service.pool]]\nbackends = [{{ url = \"http://{backend}\" }}]\n"
    )
}

/// Ends a process that outlives its test, if the test fails.
pub(crate) struct Last(pub(crate) u32);

impl Drop for Last {
    fn drop(&mut self) {
        if std::thread::panicking() {
            kill("-KILL", self.0);
        }
    }
}

/// Has the process `last` be succeeded, and says by which. Returns what was said meanwhile.
pub(crate) fn upgrade(process: &mut Process, last: &mut Last) -> String {
    kill("-USR2", last.0);
    let said = process.says("serves now");
    let (_, after) = said.rsplit_once("process ").unwrap();
    *last = Last(after.split(' ').next().unwrap().parse().unwrap());
    said
}

#[test]
fn five_upgrades_under_load_cost_no_request() {
    let socket: PathBuf =
        std::env::temp_dir().join(format!("lb-upgrade-{}.sock", std::process::id()));
    let unix = format!("[[listener]]\nbind = \"unix:{}\"", socket.display());
    let path = file("upgrade.toml", &config(&unix, &backend().to_string()));
    let mut process = Process::start_with(&["--config", &path]);
    let proxy = process.addr("listening at http://");
    let admin = process.addr("admin at http://");
    let mut last = Last(process.child.id());

    let clients = [
        (Target::Tcp(proxy), Manner::KeepAlive),
        (Target::Tcp(proxy), Manner::KeepAlive),
        (Target::Tcp(proxy), Manner::NewEachTime),
        (Target::Unix(socket.clone()), Manner::KeepAlive),
        (Target::Unix(socket.clone()), Manner::NewEachTime),
    ];
    let load = Load::start(&clients);
    for _ in 0..5 {
        load.go_on(200);
        upgrade(&mut process, &mut last);
        assert!(get(admin, "/ready").starts_with("HTTP/1.1 200 "), "the new one is ready");
    }
    load.go_on(200);
    let (answered, wrong) = load.stop();
    assert!(wrong.is_empty() && answered >= 1_200, "{answered} answered, and then {wrong:#?}");
    assert!(process.child.wait().unwrap().success(), "whoever gave way has drained");

    assert!(socket.exists(), "the file is the last one's");
    kill("-TERM", last.0);
    process.last_words();
    assert!(!socket.exists());
}

#[test]
fn fewer_and_more_workers_take_over_all_sockets() {
    let text = config("", &backend().to_string());
    let path = file("workers.toml", &text);
    let mut process = Process::start_with(&["--config", &path]);
    let proxy = process.addr("listening at http://");
    let mut last = Last(process.child.id());
    let clients =
        [(Target::Tcp(proxy), Manner::NewEachTime), (Target::Tcp(proxy), Manner::KeepAlive)];
    let load = Load::start(&clients);
    for workers in [1, 3, 2] {
        fs::write(&path, text.replace("workers = 2", &format!("workers = {workers}"))).unwrap();
        load.go_on(100);
        upgrade(&mut process, &mut last);
    }
    load.go_on(100);
    let (_, wrong) = load.stop();
    assert!(wrong.is_empty(), "{wrong:#?}");
    kill("-TERM", last.0);
    process.last_words();
}

#[test]
fn a_successor_that_cannot_start_changes_nothing() {
    let text = config("", &backend().to_string());
    let path = file("broken.toml", &text);
    let mut process = Process::start_with(&["--config", &path]);
    let proxy = process.addr("listening at http://");
    fs::write(&path, text.replace("[server]", "[sever]")).unwrap();
    process.signal("-USR2");
    let said = process.says("serves on");
    assert!(said.contains("unknown key sever"), "what is wrong: {said}");
    assert!(said.contains("it ended before it served (exit status: 1)"), "{said}");
    assert!(get(proxy, "/a").ends_with("/a"));
    // Once it is mended another one may try.
    fs::write(&path, text).unwrap();
    let mut last = Last(process.child.id());
    upgrade(&mut process, &mut last);
    assert!(get(proxy, "/b").ends_with("/b"));
    kill("-TERM", last.0);
    process.last_words();
}

/// A service that is new in the file has to find its backends first; nobody waits for it meanwhile.
#[test]
fn the_old_process_serves_until_the_new_one_knows_its_backends() {
    let answer = |body: &str| {
        let route = "[[route]]\nname = \"told\"\nhosts = [\"*\"]\npath_prefix = \"/told\"\n";
        config(&format!("{route}respond = {{ status = 200, body = \"{body}\" }}"), "127.0.0.1:1")
    };
    let path = file("finds.toml", &answer("old"));
    let mut process = Process::start_with(&["--config", &path]);
    let (proxy, admin) = (process.addr("listening at http://"), process.addr("admin at http://"));
    #[expect(clippy::disallowed_methods, reason = "a name server is outside of the proxy")]
    let names = UdpSocket::bind("127.0.0.1:0").unwrap();
    let new = format!(
        "[dns]\nservers = [\"{}\"]\n{}[[service]]\nname = \"found\"\nhosts = [\"found.test\"]\n\
         pool = [{{ discover = {{ dns = \"found.test:80\" }} }}]\n",
        names.local_addr().unwrap(),
        answer("new"),
    );
    fs::write(&path, new).unwrap();
    let mut last = Last(process.child.id());
    kill("-USR2", last.0);
    let mut query = [0; 512];
    let (length, asker) = names.recv_from(&mut query).unwrap();
    for _ in 0..20 {
        assert!(get(proxy, "/told").ends_with("old"));
        assert!(get(admin, "/ready").starts_with("HTTP/1.1 200 "));
    }
    // There is no such name (RFC 1035 §4.1.1).
    let refuse = move |mut query: [u8; 512], length: usize, asker| {
        (query[2], query[3]) = (query[2] | 0x80, 0x83);
        names.send_to(&query[..length], asker).unwrap();
        names.recv_from(&mut query).map(|(length, asker)| (query, length, asker))
    };
    spawn(move || {
        let mut asked = Ok((query, length, asker));
        while let Ok((query, length, asker)) = asked {
            asked = refuse(query, length, asker);
        }
    });
    let said = process.says("serves now");
    let (_, after) = said.rsplit_once("process ").unwrap();
    last = Last(after.split(' ').next().unwrap().parse().unwrap());
    for _ in 0..20 {
        assert!(get(proxy, "/told").ends_with("new"));
    }
    kill("-TERM", last.0);
    process.last_words();
}

#[test]
fn a_socket_that_systemd_made_stays_its_own_however_often_the_process_is_succeeded() {
    let socket = std::env::temp_dir().join(format!("lb-lent-{}.sock", std::process::id()));
    #[expect(clippy::disallowed_methods, reason = "whoever starts services opens their sockets")]
    let lent = UnixListener::bind(&socket).unwrap();
    let unix = format!("[[listener]]\nbind = \"unix:{}\"", socket.display());
    let path = file("lent.toml", &config(&unix, &backend().to_string()));
    let mut command = lb_server(&["--config", &path]);
    command.env("LISTEN_FDS", "1");
    let mapping = FdMapping { parent_fd: lent.into(), child_fd: 3 };
    command.fd_mappings(vec![mapping]).unwrap();
    let mut process = Process::run(&mut command);
    process.says("admin at");
    let mut last = Last(process.child.id());
    upgrade(&mut process, &mut last);
    upgrade(&mut process, &mut last);
    kill("-TERM", last.0);
    process.last_words();
    assert!(socket.exists(), "whoever listens there still does");
    fs::remove_file(socket).unwrap();
}

#[test]
fn a_link_that_leads_to_a_newer_program_is_followed_anew() {
    let folder = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join("linked");
    let _old = fs::remove_dir_all(&folder);
    fs::create_dir(&folder).unwrap();
    let (link, newer) = (folder.join("lb-server"), folder.join("newer"));
    let binary = env!("CARGO_BIN_EXE_lb-server");
    symlink(binary, &link).unwrap();
    fs::write(&newer, format!("#!/bin/sh\necho the newer one >&2\nexec {binary} \"$@\"\n"))
        .unwrap();
    fs::set_permissions(&newer, fs::Permissions::from_mode(0o755)).unwrap();
    let path = file("linked.toml", &config("", "127.0.0.1:1"));
    // By its path, and as a shell finds it.
    for program in [link.as_path(), Path::new("lb-server")] {
        let mut command = Command::new(program);
        command.args(["--config", &path]).env("PATH", &folder).stderr(Stdio::piped());
        let mut process = Process::run(&mut command);
        process.says("admin at");
        fs::remove_file(&link).unwrap();
        symlink(&newer, &link).unwrap();
        let mut last = Last(process.child.id());
        // The script finds its shell by itself, and needs no more.
        assert!(upgrade(&mut process, &mut last).contains("the newer one"));
        kill("-TERM", last.0);
        process.last_words();
        fs::remove_file(&link).unwrap();
        symlink(binary, &link).unwrap();
    }
}

/// As a supervisor does that ends all processes of a service.
#[test]
fn a_process_that_was_succeeded_finishes_what_runs_when_it_is_told_to_end() {
    #[expect(clippy::disallowed_methods, reason = "a backend is outside of the proxy")]
    let slow = TcpListener::bind("127.0.0.1:0").unwrap();
    let path = file("told.toml", &config("", &slow.local_addr().unwrap().to_string()));
    let mut process = Process::start_with(&["--config", &path]);
    let proxy = process.addr("listening at http://");
    let client = spawn(move || get(proxy, "/late"));
    let mut asked = BufReader::new(slow.accept().unwrap().0);
    let mut line = String::new();
    while line != "\r\n" {
        line.clear();
        asked.read_line(&mut line).unwrap();
    }
    let mut last = Last(process.child.id());
    upgrade(&mut process, &mut last);
    process.terminate();
    let said = process.says("at once");
    assert!(said.contains("once more to stop at once"), "{said}");
    let answer = b"HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\nlate";
    asked.get_mut().write_all(answer).unwrap();
    assert!(client.join().unwrap().ends_with("\r\n\r\nlate"));
    assert!(ends(&mut process.child).success());
    kill("-TERM", last.0);
    process.last_words();
}
