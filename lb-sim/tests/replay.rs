//! Replays: as true to the record as can be told, repeatable, and comparable request by request.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use std::fmt::Write;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::time::Duration;

use lb_config::Config;
use lb_core::Rng;
use lb_sim::record::{Record, read};
use lb_sim::replay::{Counts, Replay, Setting, services};
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
