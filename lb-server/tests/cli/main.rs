//! The binary as a person meets it: what it says, how it ends, and that the demo serves.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod certificates;
mod load;
mod process;
mod record;
mod reload;
mod system;
mod unheard;
mod upgrade;
mod state;

use std::fs;
use std::io::BufRead;
use std::net::TcpListener;

use process::{GOOD, Process, ask, file, get, run};

#[test]
fn a_good_configuration_is_counted_and_a_bad_one_is_diagnosed() {
    let good = file("good.toml", GOOD);
    assert_eq!(
        run(&["--check", &good]),
        (Some(0), format!("{good}: ok (1 service, 2 backends)\n"))
    );

    let bad = file("bad.toml", &GOOD.replace("hosts", "host_names"));
    let (code, said) = run(&["--check", &bad]);
    assert_eq!(code, Some(1));
    assert!(said.contains(&format!("{bad}:7:1: ")), "{said}");
    assert_eq!(run(&["--config", &bad]), (Some(1), said), "what cannot be checked is not served");
}

#[test]
fn a_file_that_is_not_there_is_named() {
    let (code, said) = run(&["--config", "no-such.toml"]);
    assert_eq!(code, Some(1));
    assert!(said.starts_with("no-such.toml: "), "{said}");
}

#[test]
fn the_command_line_explains_itself() {
    let (code, said) = run(&["--version"]);
    assert_eq!((code, said), (Some(0), format!("lb-server {}\n", env!("CARGO_PKG_VERSION"))));
    let (code, said) = run(&["--help"]);
    assert_eq!(code, Some(0));
    assert!(said.contains("lb-server --config lb.toml"), "an example: {said}");
    assert_eq!(run(&["--chekc", "lb.toml"]).0, Some(2), "wrong usage");
}

#[test]
fn a_taken_port_is_named_with_the_way_to_another() {
    #[expect(clippy::disallowed_methods, reason = "somebody has to take the port")]
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let addr = taken.local_addr().unwrap().to_string();
    for args in [
        ["--listen", &addr, "--admin", "127.0.0.1:0"],
        ["--listen", "127.0.0.1:0", "--admin", &addr],
    ] {
        let (code, said) = run(&args);
        assert_eq!(code, Some(1));
        assert!(said.contains(&format!("cannot listen at {addr}")), "{said}");
        assert!(said.contains("--listen") && said.contains("--admin"), "{said}");
    }
}

#[test]
fn the_demo_answers_from_all_its_backends_and_logs_every_exchange() {
    let mut demo = Process::start();
    let proxy = demo.addr("listening at http://");
    let admin = demo.addr("admin at http://");

    let answers: Vec<String> = (0..6).map(|n| get(proxy, &format!("/{n}?secret"))).collect();
    for answer in &answers {
        assert!(answer.starts_with("HTTP/1.1 200 OK\r\n"), "{answer}");
    }
    for name in ["steady", "slow", "flaky"] {
        let count = answers.iter().filter(|it| it.contains(&format!("hello from {name}"))).count();
        assert_eq!(count, 2, "round robin over three: {answers:#?}");
    }
    let refused =
        ask(proxy, "GET / HTTP/1.1\r\nhost: a\r\ncontent-length: 1\r\ncontent-length: 1\r\n\r\n");
    assert!(refused.starts_with("HTTP/1.1 400 "), "{refused}");
    assert!(refused.contains("several_lengths"), "{refused}");

    assert!(get(admin, "/health").ends_with("\r\n\r\nok\n"));
    let metrics = get(admin, "/metrics");
    assert!(metrics.contains("lb_exchanges_total{service=\"demo\"} 6\n"), "{metrics}");
    assert!(metrics.contains("lb_requests_refused_total 1\n"), "{metrics}");

    let log = demo.finish();
    assert_eq!(log.len(), 7, "{log:#?}");
    let lines: Vec<serde_json::Value> =
        log.iter().map(|line| serde_json::from_str(line).expect("a line is JSON")).collect();
    for (line, answer) in lines.iter().zip(&answers) {
        let id = line["request_id"].as_str().expect("a line names its request");
        assert!(answer.contains(&format!("x-request-id: {id}\r\n")), "{line}\n{answer}");
        assert_eq!((&line["status"], &line["end"]), (&200.into(), &"complete".into()), "{line}");
        assert_eq!(line["attempts"].as_array().map(Vec::len), Some(1), "{line}");
        assert_eq!(line["attempts"][0]["why"]["how"], "turn", "{line}");
    }
    assert!(!log.concat().contains("secret"), "queries stay out of the log");
    let refused = &lines[6];
    assert_eq!(refused["reason"], "several_lengths");
    assert!(refused["method"].is_null() && refused["service"].is_null(), "{refused}");
}

#[test]
fn a_signal_while_it_starts_is_heard() {
    let many = GOOD
        .replace("[[listener]]", "[server]\nworkers = 256\n[admin]\nenabled = false\n[[listener]]");
    let mut process = Process::start_with(&["--config", &file("many.toml", &many)]);
    // Some of its workers run, and most are still to come.
    let threads = format!("/proc/{}/task", process.child.id());
    while fs::read_dir(&threads).unwrap().count() < 8 {
        std::thread::yield_now();
    }
    process.terminate();
    assert!(process.last_words().contains("finishing what runs"));
    assert!(process.child.wait().unwrap().success());
}

#[test]
fn a_log_that_nobody_reads_does_not_keep_the_process() {
    let config = GOOD.replace("\"*\"", "\"elsewhere.example\"");
    let config = format!("admin.enabled = false\n{config}");
    let mut demo = Process::start_with(&["--config", &file("unread.toml", &config)]);
    let proxy = demo.addr("listening at http://");
    // More lines than the pipe holds, and nobody reads them.
    let requests = "GET / HTTP/1.1\r\nhost: localhost\r\n\r\n".repeat(999);
    let answers = ask(
        proxy,
        &format!("{requests}GET / HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n"),
    );
    assert_eq!(answers.matches("HTTP/1.1 ").count(), 1_000);
    demo.terminate();
    let mut drained = String::new();
    while !drained.contains("finishing what runs") {
        assert_ne!(demo.said.read_line(&mut drained).unwrap(), 0, "{drained}");
    }
    // Whoever does not want to wait says so again.
    while demo.child.try_wait().unwrap().is_none() {
        demo.terminate();
    }
    assert!(demo.child.wait().unwrap().success());
    assert!(demo.last_words().contains("lines are lost"));
}
