//! Another configuration for a running process: by signal, by call, by a change of the file.

use std::fs;
use std::net::{Ipv6Addr, SocketAddr, TcpListener, TcpStream};

use crate::load::spawn;
use crate::process::{Process, ask, file, get};

/// A configuration in which a service of this name refuses whatever comes.
fn config(service: &str, server: &str) -> String {
    format!(
        "[server]\n{server}\n[admin]\nbind = \"127.0.0.1:0\"\n\
         [[listener]]\nbind = \"127.0.0.1:0\"\n\
         [[service]]\nname = \"{service}\"\nhosts = [\"*\"]\n\
         [[service.pool]]\nbackends = [{{ url = \"http://127.0.0.1:1\" }}]\n"
    )
}

fn start(path: &str) -> (Process, SocketAddr) {
    let mut process = Process::start_with(&["--config", path]);
    let admin = process.addr("admin at http://");
    (process, admin)
}

fn post(admin: SocketAddr, more: &str) -> String {
    ask(
        admin,
        &format!("POST /reload HTTP/1.1\r\nhost: localhost\r\n{more}connection: close\r\n\r\n"),
    )
}

#[test]
fn sighup_reads_the_file_anew_and_a_mistake_in_it_changes_nothing() {
    let path = file("sighup.toml", &config("one", ""));
    let (mut process, admin) = start(&path);
    assert!(get(admin, "/ready").contains("\"one\""));

    fs::write(&path, config("two", "workers = 7")).unwrap();
    process.signal("-HUP");
    let said = process.says("is in force");
    assert!(said.contains("server.workers takes effect at the next start"), "{said}");
    assert!(get(admin, "/ready").contains("\"two\""));

    fs::write(&path, config("three", "").replace("http://", "htp://")).unwrap();
    process.signal("-HUP");
    let said = process.says("served on");
    assert!(said.contains(&format!("{path}:11:")), "where the mistake is: {said}");
    let ready = get(admin, "/ready");
    assert!(ready.starts_with("HTTP/1.1 200 ") && ready.contains("\"two\""), "{ready}");
    assert!(ready.contains(&format!("{path}:11:")), "where the mistake is: {ready}");
    assert!(!ready.contains("htp://"), "and not what is there, which may be a secret: {ready}");
    fs::write(&path, config("three", "").replace("[admin]", "[admin]\nhosts = hunter2hunter2"))
        .unwrap();
    let answer = post(admin, "");
    assert!(answer.contains("hunter2h.. is not a TOML value; write it in quotes"), "{answer}");
    assert!(process.says("served on").contains("hunter2h.. is not"));
    assert!(!get(admin, "/ready").contains("hunter"), "not even that");
    assert!(get(admin, "/metrics").contains("lb_reloads_failed_total 2\n"));
    process.finish();
}

#[test]
fn an_address_that_is_taken_changes_nothing() {
    let path = file("taken.toml", &config("one", ""));
    let (process, admin) = start(&path);
    let more = format!("{}[[listener]]\nbind = \"{admin}\"\n", config("two", ""));
    fs::write(&path, more).unwrap();
    let answer = post(admin, "");
    assert!(answer.starts_with("HTTP/1.1 422 "), "{answer}");
    let ours = format!("cannot listen at {admin}: this process listens there itself");
    assert!(answer.contains(&ours), "{answer}");
    assert!(get(admin, "/ready").contains("\"one\""));
    process.finish();
}

#[test]
fn the_admin_listener_reloads_when_it_is_asked_to_and_not_for_a_web_page() {
    let path = file("called.toml", &config("one", ""));
    let (process, admin) = start(&path);
    fs::write(&path, config("two", "")).unwrap();
    let refused = post(admin, "origin: https://evil.example\r\n");
    assert!(refused.starts_with("HTTP/1.1 403 "), "{refused}");
    assert!(get(admin, "/reload").starts_with("HTTP/1.1 405 "));
    assert!(get(admin, "/ready").contains("\"one\""));
    let answer = post(admin, "");
    assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
    assert!(answer.ends_with(&format!("{path} is in force\n")), "{answer}");
    assert!(get(admin, "/ready").contains("\"two\""));
    process.finish();
}

#[test]
fn a_file_that_is_watched_is_in_force_soon_after_it_changed() {
    let path = file("watched.toml", &config("one", "watch = true"));
    let (mut process, admin) = start(&path);
    fs::write(&path, config("another", "watch = true")).unwrap();
    assert!(process.says("is in force").contains("a change of the file"));
    assert!(get(admin, "/ready").contains("\"another\""));
    process.finish();
}

#[test]
fn the_demo_has_nothing_to_read_anew() {
    let mut process = Process::start();
    let admin = process.addr("admin at http://");
    let answer = post(admin, "");
    assert!(answer.starts_with("HTTP/1.1 422 "), "{answer}");
    assert!(get(admin, "/ready").contains("\"demo\""));
    process.finish();
}

#[test]
fn an_address_beside_or_within_our_own_can_be_had() {
    #[expect(clippy::disallowed_methods, reason = "a port that is free, for all that can be known")]
    let port = TcpListener::bind("0.0.0.0:0").unwrap().local_addr().unwrap().port();
    let at =
        |bind: &str| config("one", "").replacen("127.0.0.1:0\"\n[[s", &format!("{bind}\"\n[[s"), 1);
    let path = file("beside.toml", &at(&format!("0.0.0.0:{port}")));
    let (process, admin) = start(&path);
    let [inner, outer] = [[127, 0, 0, 1], [127, 0, 0, 2]].map(|ip| SocketAddr::from((ip, port)));
    assert!(get(outer, "/").starts_with("HTTP/1.1 "));

    fs::write(&path, at(&format!("127.0.0.1:{port}"))).unwrap();
    assert!(post(admin, "").contains("is in force"));
    #[expect(clippy::disallowed_methods, reason = "a client is outside of the proxy")]
    while TcpStream::connect(outer).is_ok() {}
    assert!(get(inner, "/").starts_with("HTTP/1.1 "));

    let other = format!("127.0.0.1:{port}\"\n[[listener]]\nipv6_only = true\nbind = \"[::]:{port}");
    fs::write(&path, at(&other)).unwrap();
    assert!(post(admin, "").contains("is in force"));
    let sixth = SocketAddr::from((Ipv6Addr::LOCALHOST, port));
    #[expect(clippy::disallowed_methods, reason = "a client is outside of the proxy")]
    while TcpStream::connect(sixth).is_err() {}
    assert!(get(sixth, "/").starts_with("HTTP/1.1 "));
    process.finish();
}

#[test]
fn it_is_too_late_for_another_configuration_when_nothing_new_is_taken() {
    #[expect(clippy::disallowed_methods, reason = "a backend is outside of the proxy")]
    let mute = TcpListener::bind("127.0.0.1:0").unwrap();
    let backend = mute.local_addr().unwrap().to_string();
    let path =
        file("late.toml", &config("one", "").replace("127.0.0.1:1\"", &format!("{backend}\"")));
    let mut process = Process::start_with(&["--config", &path]);
    let proxy = process.addr("listening at http://");
    let client = spawn(move || get(proxy, "/"));
    let asked = mute.accept().unwrap();
    process.terminate();
    // Its listeners close a moment later.
    let late = loop {
        process.signal("-HUP");
        let told = process.says("SIGHUP");
        if told.contains("not put in force") {
            break told;
        }
    };
    assert!(late.contains("it is too late for another configuration"), "{late}");
    // Its backend leaves, and that is an answer.
    drop((asked, mute));
    assert!(client.join().unwrap().starts_with("HTTP/1.1 50"));
    process.finish();
}
