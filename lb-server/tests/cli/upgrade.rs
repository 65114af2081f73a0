//! Another process in place of a running one, under load.

use std::fs;
use std::path::PathBuf;

use crate::load::{Load, Manner, Target, backend};
use crate::process::{Process, file, get, kill};

fn config(listeners: &str, backend: &str) -> String {
    format!(
        "[server]\nworkers = 2\n[admin]\nbind = \"127.0.0.1:0\"\n[access_log]\nenabled = false\n\
         [[listener]]\nbind = \"127.0.0.1:0\"\n{listeners}\n\
         [[service]]\nname = \"web\"\nhosts = [\"*\"]\n\
         [[service.pool]]\nbackends = [{{ url = \"http://{backend}\" }}]\n"
    )
}

/// Ends a process that outlives its test, if the test fails.
struct Last(u32);

impl Drop for Last {
    fn drop(&mut self) {
        if std::thread::panicking() {
            kill("-KILL", self.0);
        }
    }
}

/// Has the process `last` be succeeded, and says by which.
fn upgrade(process: &mut Process, last: &mut Last) {
    kill("-USR2", last.0);
    let said = process.says("serves now");
    let (_, after) = said.rsplit_once("process ").unwrap();
    *last = Last(after.split(' ').next().unwrap().parse().unwrap());
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
