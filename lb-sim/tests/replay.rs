//! Replays: as true to the record as can be told, repeatable, and comparable request by request.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use std::fmt::Write;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::time::Duration;

use expect_test::expect;
use lb_config::Config;
use lb_core::Rng;
use lb_sim::record::{Record, read};
use lb_sim::replay::{Counts, Replay, Setting, known, services};
use lb_sim::scenario::Latency;

fn file(name: &str, text: &str) -> PathBuf {
    let path = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(name);
    fs::write(&path, text).unwrap();
    path
}

fn toml(backends: usize, more: &str) -> String {
    let backends: Vec<String> =
        (1..=backends).map(|nth| format!("{{ url = \"http://10.0.0.{nth}\" }}")).collect();
    format!(
        "[[listener]]\nbind = '127.0.0.1:8080'\n[[service]]\nname = 'web'\nhosts = ['*']\n{more}\n\
         [[service.pool]]\nbackends = [{}]\n",
        backends.join(", ")
    )
}

fn config(text: &str) -> Config {
    let (config, diagnostics) = lb_config::load(&lb_config::Source { name: "lb.toml", text });
    config.unwrap_or_else(|| panic!("{diagnostics:#?}"))
}

/// A minute at 200 a second over three backends, the second of which is three times as slow. From the
/// thirtieth to the fortieth second every answer of the first is a 503, and nobody tries again.
fn minute() -> String {
    let mut out =
        "{\"lb_record\":1,\"table\":\"aa\",\"began_us\":1700000000000000,\"services\":[{\"name\":\
         \"web\",\"backends\":[\"http://10.0.0.1\",\"http://10.0.0.2\",\"http://10.0.0.3\"]}]}\n"
            .to_owned();
    let mut dice = Rng::stream(1, 1);
    for nth in 0..12_000_u64 {
        let (at, backend) = (nth * 5_000, nth % 3);
        let slow = if backend == 1 { 3 } else { 1 };
        let took = (1_000 + dice.next_u64() % 9_000) * slow;
        let is_ill = backend == 0 && (30_000_000..40_000_000).contains(&at);
        let (status, took) = if is_ill { (503, 200) } else { (200, took) };
        let user = dice.next_u64() % 100;
        writeln!(out, "{at} 0 s {user:016x} {status} c {took} 0 9 {backend}:{status}:0:{took}")
            .unwrap();
    }
    out
}

fn record(name: &str) -> Record {
    read(&[file(name, &minute())], None).unwrap()
}

fn setting() -> Setting {
    let latency = Latency::Exponential { mean: Duration::from_millis(10) };
    Setting { speed: 1.0, latency, same: Vec::new() }
}

/// What was recorded, and what comes of it under a configuration.
fn replayed(record: &Record, text: &str, setting: &Setting) -> (Counts, Counts, Vec<String>) {
    let config = config(text);
    let pairs = services(record, &config, None).unwrap().pairs;
    let replay = Replay::new(record, pairs[0], &config, Path::new("lb.toml"), setting);
    (replay.recorded().whole(), replay.run(1).unwrap().whole(), replay.stage.notes.clone())
}

/// As the record was made: in turn, and without any notion of failure.
const PLAIN: &str = "[service.balance]\npolicy = 'round-robin'\n[service.breaker]\nenabled = false\n\
    [service.retry]\nattempts_max = 1";

fn near(one: Option<f64>, other: Option<f64>, within: f64) {
    let (one, other) = (one.unwrap(), other.unwrap());
    assert!((one - other).abs() <= within * one.abs().max(1e-9), "{one} and {other}");
}

#[test]
fn under_the_configuration_that_served_a_replay_is_what_was_recorded() {
    let (was, is, notes) = replayed(&record("true.lb"), &toml(3, PLAIN), &setting());
    assert_eq!((was.requests, is.requests), (12_000, 12_000));
    assert!(notes.is_empty(), "{notes:?}");
    near(was.error_ratio(), is.error_ratio(), 0.05);
    assert_eq!(was.amplification(), Some(1.0));
    assert_eq!(is.amplification(), Some(1.0));
    for quantile in [0.5, 0.9, 0.99] {
        near(was.latency_ms(quantile), is.latency_ms(quantile), 0.05);
    }
    for origin in 0..3 {
        near(was.share(Some(origin)), is.share(Some(origin)), 0.01);
    }
}

#[test]
fn a_configuration_that_would_have_helped_helps() {
    let careful = "[service.retry]\nattempts_max = 3\n[service.breaker]\nconsecutive_failures = 3";
    let (was, is, _) = replayed(&record("helped.lb"), &toml(3, careful), &setting());
    assert!(was.error_ratio().unwrap() > 0.05, "{was:?}");
    assert!(is.error_ratio().unwrap() < 0.001, "{:?}", is.error_ratio());
    let quick = "[service.balance]\npolicy = 'peak-ewma'\n[service.retry]\nattempts_max = 3";
    let (_, is, _) = replayed(&record("quick.lb"), &toml(3, quick), &setting());
    assert!(is.share(Some(1)).unwrap() < 0.25, "the slow one: {:?}", is.share(Some(1)));
}

#[test]
fn a_backend_that_is_new_is_like_the_others_and_one_that_is_gone_is_not_asked() {
    let (_, is, notes) = replayed(&record("new.lb"), &toml(4, PLAIN), &setting());
    near(is.share(Some(3)), Some(0.25), 0.01);
    assert_eq!(notes, ["not in the record, and as quick as the others: 10.0.0.4:80"]);
    let (was, is, notes) = replayed(&record("gone.lb"), &toml(2, PLAIN), &setting());
    assert_eq!(notes, ["not in the configuration, and not asked: http://10.0.0.3"]);
    near(was.share(None), Some(1.0 / 3.0), 0.01);
    assert_eq!(is.share(None), Some(0.0));
}

/// A minute at 50 a second over two backends that take 99 ms. From the twentieth to the fortieth second
/// nothing is heard of the second, and clients leave after 5 s.
fn hung() -> String {
    let mut out =
        "{\"lb_record\":1,\"table\":\"aa\",\"began_us\":0,\"services\":[{\"name\":\"web\",\
                   \"backends\":[\"http://10.0.0.1\",\"http://10.0.0.2\"]}]}\n"
            .to_owned();
    for nth in 0..3_000_u64 {
        let (at, backend) = (nth * 20_000, nth % 2);
        let is_hung = backend == 1 && (20_000_000..40_000_000).contains(&at);
        let said = match is_hung {
            true => "499 l 5000000 0 0 1:abandoned:0:5000000".to_owned(),
            // The other of two was sooner, which says nothing of this one.
            false if nth % 50 == 0 => {
                "200 c 99000 0 9 1:abandoned:0:99000,0:200:20:98980".to_owned()
            }
            false => format!("200 c 99000 0 9 {backend}:200:0:99000"),
        };
        writeln!(out, "{at} 0 s - {said}").unwrap();
    }
    out
}

#[test]
fn a_backend_that_hung_until_clients_left_hangs_again() {
    let record = read(&[file("hung.lb", &hung())], None).unwrap();
    let (was, is, notes) = replayed(&record, &toml(2, PLAIN), &setting());
    assert_eq!(was.left, 500);
    near(is.error_ratio(), Some(500.0 / 3_000.0), 0.01);
    expect![[r#"
        [
            "given up with their clients: 500 attempts; each takes as long as one that took longer, and where none did it is never answered",
        ]
    "#]]
    .assert_debug_eq(&notes);
    let careful =
        "[service.breaker]\nconsecutive_failures = 3\n[service.timeouts]\nfirst_byte = '2s'";
    let (_, is, _) = replayed(&record, &toml(2, careful), &setting());
    assert_eq!(is.error_ratio(), Some(0.0));
    assert!(is.share(Some(1)).unwrap() < 0.4, "it was left alone: {:?}", is.share(Some(1)));
    assert!(is.latency_ms(0.999).unwrap() > 2_000.0, "{:?}", is.latency_ms(0.999));
    // The same of a log in which clients are known to have left by two letters.
    let line = |nth: u32| {
        let state = match nth % 2 == 1 && (1_000..2_000).contains(&nth) {
            true => "0/0/1/-1/5000 -1 0 - - CH--",
            false => "0/0/1/98/99 200 512 - - ----",
        };
        let (ms, server) = (nth * 20, ["10.0.0.1:80", "10.0.0.2:80"][nth as usize % 2]);
        let (second, ms) = (ms / 1_000, ms % 1_000);
        format!(
            "10.0.1.2:1 [06/Feb/2009:12:14:{second:02}.{ms:03}] fe app/{server} {state} 1/1/1/1/0 0/0 \
             \"GET / HTTP/1.1\"\n"
        )
    };
    let all = (0..3_000).map(line).collect::<String>();
    let record = read(&[file("hung.log", &all)], None).unwrap();
    let (was, is, _) = replayed(&record, &toml(2, PLAIN), &setting());
    assert_eq!(was.left, 500);
    near(is.error_ratio(), Some(500.0 / 3_000.0), 0.01);
}

/// Half a minute at 100 a second, as nginx has it, with what is said of each beside.
fn nginx(name: &str, said: impl Fn(u32) -> (u16, String)) -> Record {
    let line = |nth: u32| {
        let (status, more) = said(nth);
        let second = nth / 100;
        format!(
            "10.9.9.9 - - [01/Nov/2026:12:00:{second:02} +0000] \"GET / HTTP/1.1\" {status} 5 \"-\" \"-\" {more}\n"
        )
    };
    read(&[file(name, &(0..3_000).map(line).collect::<String>())], None).unwrap()
}

#[test]
fn a_log_without_times_takes_the_latency_that_is_said_and_one_with_some_those() {
    let upstream = |nth: u32| format!("ua=\"10.0.0.{}:80\"", nth % 2 + 1);
    let record = nginx("no_times.log", |nth| (200, upstream(nth)));
    let (was, is, notes) = replayed(&record, &toml(2, PLAIN), &setting());
    assert_eq!(was.latency_ms(0.5), None);
    near(is.latency_ms(0.5), Some(6.93), 0.1);
    assert_eq!(notes, ["the record has no times of theirs (--latency): 10.0.0.1:80, 10.0.0.2:80"]);
    let some = |nth| match nth % 2 {
        0 => (200, format!("urt=0.050 {}", upstream(nth))),
        _ => (200, upstream(nth)),
    };
    let (_, is, notes) = replayed(&nginx("some_times.log", some), &toml(2, PLAIN), &setting());
    near(is.latency_ms(0.99), Some(50.0), 0.01);
    let said =
        "the record has no times of theirs, and they are as quick as the others: 10.0.0.2:80";
    assert_eq!(notes, [said]);
}

#[test]
fn errors_of_which_nobody_says_whose_they_were_are_everybodys() {
    let said = |nth: u32| match nth % 10 {
        0 => (502, "rt=0.010 urt=0.010 us=502".to_owned()),
        _ => (200, "rt=0.100 urt=0.100 us=200".to_owned()),
    };
    let (was, is, notes) = replayed(&nginx("nameless.log", said), &toml(2, PLAIN), &setting());
    assert_eq!(was.error_ratio(), Some(0.1));
    near(is.error_ratio(), Some(0.1), 0.25);
    near(is.latency_ms(0.5), Some(100.0), 0.01);
    assert_eq!(notes, ["the record names no backend: each does what all of them did"]);
    let some = |nth: u32| match nth % 10 {
        0 => said(nth),
        _ => (200, "rt=0.100 urt=0.100 us=200 ua=10.0.0.1:80".to_owned()),
    };
    let (_, is, notes) = replayed(&nginx("few_names.log", some), &toml(1, PLAIN), &setting());
    assert_eq!(is.errors, 0);
    assert_eq!(
        notes,
        ["errors that the record says no backend of, and that are not replayed: 300"]
    );
}

#[test]
fn who_is_turned_away_by_a_limit_has_no_good_answer() {
    let limit = "[service.rate_limit]\nenabled = true\nrequests = 1\nper = '30s'\nburst = 1";
    let (was, is, _) = replayed(&record("limited.lb"), &toml(3, limit), &setting());
    assert_eq!((was.limited, is.errors), (0, 0));
    assert!(is.limited_ratio().unwrap() > 0.9, "{:?}", is.limited_ratio());
    assert!(is.latency_ms(0.5).unwrap() > 1.0, "of those that got through: {is:?}");
    let text = minute().replace(" 200 c ", " 429 c ").replace(":200:", ":429:");
    let record = read(&[file("theirs.lb", &text)], None).unwrap();
    let (was, _, _) = replayed(&record, &toml(3, PLAIN), &setting());
    assert_eq!(was.limited, 0, "a backend's 429 is an answer like any other");
    let text = format!("{}\n59999999 0 s - 429 r 20 0 60 -\n", minute());
    let record = read(&[file("ours.lb", &text)], None).unwrap();
    assert_eq!(replayed(&record, &toml(3, PLAIN), &setting()).0.limited, 1);
}

#[test]
fn users_stay_where_their_key_leads() {
    let keyed = "[service.balance]\npolicy = 'maglev'\nhash = ['cookie:session']";
    let record = record("users.lb");
    let (_, is, _) = replayed(&record, &toml(3, keyed), &setting());
    // A hundred users spread over three backends as luck has it, not one third each.
    let shares = [0, 1, 2].map(|at| is.share(Some(at)).unwrap());
    assert!(shares.iter().all(|share| *share > 0.15), "{shares:?}");
    assert_ne!(shares[0], shares[1]);
}

#[test]
fn a_replay_repeats_and_the_same_configuration_twice_has_the_same_luck() {
    let (record, text) =
        (record("repeats.lb"), toml(3, "[service.balance]\npolicy = 'least-request'"));
    let [one, other] = [(); 2].map(|()| format!("{:?}", replayed(&record, &text, &setting()).1));
    assert_eq!(one, other);
    let fast = Setting { speed: 2.0, ..setting() };
    let (was, _, _) = replayed(&record, &text, &fast);
    assert_eq!(was.requests, 12_000);
}

fn lb_sim(args: &[&str]) -> (Option<i32>, String, String) {
    let output = Command::new(env!("CARGO_BIN_EXE_lb-sim")).args(args).output().unwrap();
    let Output { status, stdout, stderr } = output;
    let text = |bytes| String::from_utf8(bytes).unwrap();
    (status.code(), text(stdout), text(stderr))
}

#[test]
fn a_missed_level_is_an_exit_code_and_a_comparison_a_table() {
    let record = file("cli.lb", &minute()).display().to_string();
    let old = file("old.toml", &toml(3, PLAIN)).display().to_string();
    let new = file("new.toml", &toml(3, "[service.retry]\nattempts_max = 3")).display().to_string();
    let (code, said, _) =
        lb_sim(&["replay", &record, "--config", &old, "--slo", "error_ratio < 1%"]);
    assert_eq!(code, Some(131), "{said}");
    assert!(said.contains("MISSED  web: error_ratio < 1%"), "{said}");
    let args = ["replay", &record, "--config", &new, "--against", &old, "--slo", "errors == 0"];
    let (code, said, _) = lb_sim(&args);
    assert_eq!(code, Some(0), "{said}");
    assert!(said.contains("before") && said.contains("difference (95 %)"), "{said}");
    let limit = "[service.rate_limit]\nenabled = true\nrequests = 1\nper = '30s'\nburst = 1";
    let limited = file("limited.toml", &toml(3, limit)).display().to_string();
    let hung = file("hung_cli.lb", &hung()).display().to_string();
    let args = ["replay", &hung, "--config", &limited, "--against", &new, "--slo", "errors == 0"];
    let (_, said, _) = lb_sim(&args);
    let lines = |name| said.lines().filter(|line| line.contains(name)).collect::<Vec<_>>();
    let [left] = lines("clients that left")[..] else { panic!("{said}") };
    assert!(left.contains("16.667 %") && left.contains("0.000 %"), "{left}");
    let [turned_away] = lines("429 of a limit")[..] else { panic!("{said}") };
    assert!(turned_away.contains(" %   +9"), "a difference beyond chance: {turned_away}");
    assert_eq!(lines("add --slo 'answered(429) < 1%'").len(), 1, "{said}");
    let (code, _, said) = lb_sim(&["replay", &record, "--config", &new, "--slo", "opened == 0"]);
    assert_eq!(code, Some(1));
    assert!(said.contains("a replay does not count that"), "{said}");
    let (code, _, said) = lb_sim(&["replay", &record, "--config", &new, "--service", "api"]);
    assert_eq!((code, said.trim()), (Some(1), "there is no service \"api\"; its services: web"));
}

#[test]
fn a_pool_that_discovers_its_backends_has_those_of_the_record() {
    let text = toml(1, PLAIN);
    let (pools, _) = text.split_once("[[service.pool]]").unwrap();
    let text = format!("{pools}[[service.pool]]\ndiscover = {{ dns = \"web.internal:80\" }}\n");
    let (_, is, notes) = replayed(&record("discovers.lb"), &text, &setting());
    assert!(notes.is_empty(), "{notes:?}");
    near(is.share(Some(0)), Some(1.0 / 3.0), 0.01);
}

#[test]
fn a_log_in_which_servers_have_names_is_told_whose_they_are() {
    let line = |nth: u32, server: &str| {
        let (second, ms) = (nth / 100, nth % 100 * 10);
        format!(
            "10.0.1.2:33317 [06/Feb/2009:12:14:{second:02}.{ms:03}] http-in app/{server} 0/0/1/4/5 200 \
             2750 - - ---- 1/1/1/1/0 0/0 \"GET / HTTP/1.1\"\n"
        )
    };
    let all =
        (0..2_000).map(|nth| line(nth, ["srv1", "srv2"][nth as usize % 2])).collect::<String>();
    let record = read(&[file("named.log", &all)], None).unwrap();
    let (_, is, notes) = replayed(&record, &toml(2, PLAIN), &setting());
    near(is.latency_ms(0.5), Some(5.0), 0.01);
    assert_eq!(notes.len(), 2, "nobody knows who they are: {notes:?}");
    let same = [("srv1", "http://10.0.0.1"), ("srv2", "http://10.0.0.2")];
    let same = same.map(|(theirs, ours)| (theirs.to_owned(), ours.to_owned())).to_vec();
    let (was, _, notes) = replayed(&record, &toml(2, PLAIN), &Setting { same, ..setting() });
    assert!(notes.is_empty(), "{notes:?}");
    assert_eq!(was.share(Some(0)), Some(0.5));
}

/// A minute at 50 a second over two backends, of which the first answers every other request 503.
fn half(backends: [&str; 2]) -> String {
    let mut out = format!(
        "{{\"lb_record\":1,\"table\":\"aa\",\"began_us\":0,\"services\":[{{\"name\":\"web\",\
         \"backends\":{backends:?}}}]}}\n"
    );
    for nth in 0..3_000_u64 {
        let status = if nth % 4 == 0 { 503 } else { 200 };
        let (at, backend) = (nth * 20_000, nth % 2);
        writeln!(out, "{at} 0 s - {status} c 9000 0 9 {backend}:{status}:0:9000").unwrap();
    }
    out
}

#[test]
fn a_backend_with_an_address_of_ipv6_or_a_unix_socket_does_what_it_did() {
    for backends in [
        ["http://[2001:db8::1]:8080", "http://[2001:DB8:0::2]:8080"],
        ["unix:/run/a.sock", "unix:/run/b.sock"],
    ] {
        let record = read(&[file("half.lb", &half(backends))], None).unwrap();
        let text = toml(2, PLAIN).replace("http://10.0.0.1", backends[0]);
        let text = text.replace("http://10.0.0.2", backends[1]);
        let (was, is, notes) = replayed(&record, &text, &setting());
        assert!(notes.is_empty(), "{notes:?}");
        near(was.error_ratio(), Some(0.25), 0.01);
        near(is.error_ratio(), Some(0.25), 0.1);
        let same = backends.map(|name| (name.to_owned(), name.to_owned()));
        assert_eq!(known(&record, &config(&text), &same), Ok(()));
    }
}

#[test]
fn levels_prove_nothing_where_most_of_what_was_is_not_done_again() {
    let record = file("half-elsewhere.lb", &half(["http://10.1.0.1", "http://10.1.0.2"]));
    let toml = file("half-elsewhere.toml", &toml(2, PLAIN));
    let (record, toml) = (record.to_str().unwrap(), toml.to_str().unwrap());
    let level = ["--slo", "error_ratio < 1%"];
    let args = ["replay", record, "--config", toml, level[0], level[1]];
    let (code, table, _) = lb_sim(&args);
    assert_eq!(code, Some(131), "{table}");
    assert!(table.contains("that are not replayed: 750"), "{table}");
    assert!(table.contains("MISSED  web: error_ratio < 1%: most of what was recorded"), "{table}");
}

#[test]
fn a_log_is_read_from_a_pipe_to_its_end() {
    let (log, toml) = (file("piped.lb", &minute()), file("piped.toml", &toml(3, PLAIN)));
    let through = |record: &str| {
        let script = format!("exec \"$0\" replay {record} --config \"$2\"");
        let mut bash = Command::new("bash");
        bash.args(["-c", &script, env!("CARGO_BIN_EXE_lb-sim")]).args([&log, &toml]);
        String::from_utf8(bash.output().unwrap().stdout).unwrap()
    };
    let table = through("\"$1\"");
    assert!(table.contains("service web: 12000 requests"), "{table}");
    assert_eq!(through("<(cat \"$1\")"), table);
}

#[test]
fn services_are_known_by_name_and_one_alone_by_nothing() {
    let two = |names: [&str; 2]| {
        let service = |name: &str| {
            format!(
                "[[service]]\nname = '{name}'\nhosts = ['{name}.example']\n\
                 [[service.pool]]\nbackends = [{{ url = 'http://10.0.0.1' }}]\n"
            )
        };
        config(&format!("[[listener]]\nbind = '127.0.0.1:80'\n{}", names.map(service).concat()))
    };
    let record = record("services.lb");
    let pairs = |config: &Config, only| services(&record, config, only).map(|it| it.pairs);
    assert_eq!(pairs(&two(["api", "web"]), None), Ok(vec![(0, 1)]));
    assert_eq!(pairs(&two(["api", "app"]), Some("app")), Ok(vec![(0, 1)]));
    let why = pairs(&two(["api", "app"]), None).unwrap_err();
    assert!(
        why.contains("the record has the services \"web\", the configuration api, app"),
        "{why}"
    );
    assert!(pairs(&two(["api", "app"]), Some("web")).unwrap_err().contains("there is no service"));
}
