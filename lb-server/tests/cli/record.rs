//! What is recorded, over real sockets: enough to replay it, and nothing that tells of people.

use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::net::{SocketAddr, TcpListener};
use std::thread;

use crate::process::{Process, ask, file, run};

/// A backend that answers every request with this status.
#[expect(clippy::disallowed_methods, reason = "a backend is outside of the proxy")]
fn backend(status: u16) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let addr = listener.local_addr().unwrap();
    thread::spawn(move || {
        for mut stream in listener.incoming().flatten() {
            let lines = BufReader::new(&stream).lines().map_while(Result::ok);
            let _head = lines.take_while(|line| !line.is_empty()).count();
            let answer = format!(
                "HTTP/1.1 {status} Said\r\ncontent-length: 2\r\nconnection: close\r\n\r\nok"
            );
            let _gone = stream.write_all(answer.as_bytes());
        }
    });
    addr
}

fn config(record: &str, backends: &[SocketAddr]) -> String {
    let backends: Vec<String> =
        backends.iter().map(|addr| format!("{{ url = \"http://{addr}\" }}")).collect();
    format!(
        "[admin]\nbind = '127.0.0.1:0'\n[record]\nfile = '{record}'\n\
         [[listener]]\nbind = '127.0.0.1:0'\n\
         [[service]]\nname = 'web'\nhosts = ['*']\n\
         [service.balance]\npolicy = 'maglev'\nhash = ['header:x-user']\n\
         [service.retry]\nattempts_max = 3\n\
         [[service.pool]]\nbackends = [{}]\n",
        backends.join(", ")
    )
}

#[test]
fn a_record_has_each_exchange_with_its_attempts_and_nothing_of_people() {
    let path = file("recorded.lb", "");
    let _fresh = fs::remove_file(&path);
    let (ill, well) = (backend(503), backend(200));
    let config = file("record.toml", &config(&path, &[ill, well]));
    let mut process = Process::start_with(&["--config", &config]);
    let proxy = process.addr("listening at http://");
    for user in ["ann", "bob", "ann"] {
        let request = format!(
            "GET /secret-path?token=secret HTTP/1.1\r\nhost: secret-host\r\nx-user: {user}\r\n\
             cookie: secret=1\r\nauthorization: Bearer secret\r\nconnection: close\r\n\r\n"
        );
        let answer = ask(proxy, &request);
        assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    }
    let post = "POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 3\r\nconnection: close\r\n\r\nabc";
    ask(proxy, post);
    process.finish();

    let text = fs::read_to_string(&path).unwrap();
    for secret in ["secret", "Bearer", "ann", "bob", "127.0.0.1 "] {
        assert!(!text.contains(secret), "{secret} is in\n{text}");
    }
    let head: serde_json::Value = serde_json::from_str(text.lines().next().unwrap()).unwrap();
    assert_eq!(head["lb_record"], 1);
    assert_eq!(head["services"][0]["name"], "web");
    assert_eq!(head["services"][0]["backends"][1], format!("http://{well}"));
    let is_line = |line: &&str| !line.starts_with(['{', '@']);
    let lines: Vec<Vec<&str>> =
        text.lines().filter(is_line).map(|line| line.split(' ').collect()).collect();
    assert_eq!(lines.len(), 4, "{text}");
    let keys: Vec<&str> = lines.iter().map(|line| line[3]).collect();
    assert_eq!(keys[0], keys[2], "ann is ann: {text}");
    assert_ne!(keys[0], keys[1], "and not bob: {text}");
    for line in &lines[..3] {
        assert_eq!((line[2], line[4], line[5], line[8]), ("s", "200", "c", "2"), "{text}");
        let last = line[9].split(',').next_back().unwrap();
        assert!(last.starts_with("1:200:"), "{text}");
    }
    assert_eq!((lines[3][2], lines[3][7]), ("o", "3"), "{text}");
}

#[test]
fn a_record_that_cannot_be_written_is_told_of_at_the_start() {
    let config = file("norecord.toml", &config("/nowhere/record.lb", &[backend(200)]));
    let (code, said) = run(&["--config", &config]);
    assert_eq!(code, Some(1), "{said}");
    assert!(said.contains("cannot write the record /nowhere/record.lb"), "{said}");
    assert!(said.contains("must be in a folder that exists"), "{said}");
}
