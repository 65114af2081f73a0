//! `lb-sim explain` and `lb-sim map`: why a request went where it went, and how much load is safe.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::time::Duration;

use lb_sim::rehearsal::map::{Fate, Patience, Spot, Trigger, fate, scenario};
use lb_sim::rehearsal::{Setting, Stage};
use lb_sim::scenario::{Again, Latency};

const ROOT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/..");

fn lb_sim(args: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_lb-sim")).args(args).current_dir(ROOT).output().unwrap()
}

fn said(output: &Output) -> (String, String, Option<i32>) {
    let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
    (text(&output.stdout), text(&output.stderr), output.status.code())
}

fn temporary(name: &str) -> String {
    PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(name).display().to_string()
}

/// The trace of a scenario, in a file of its own.
fn traced(name: &str, engine: &str) -> String {
    let file = temporary(name);
    let scenario = "scenarios/origin-523.toml";
    let run = lb_sim(&["run", scenario, "--engine", engine, "--seed", "3", "--trace", &file]);
    assert_eq!(run.status.code(), Some(0), "{}", said(&run).0);
    file
}

/// The exchange of the first second attempt in a trace.
fn retried(trace: &str) -> String {
    let text = fs::read_to_string(trace).unwrap();
    let line = text.lines().find(|line| line.contains("attempt=2 ")).unwrap();
    line.split(' ').find(|word| word.starts_with("exchange=")).unwrap().to_owned()
}

#[test]
fn a_request_that_was_tried_again_is_told_from_its_beginning_to_its_end() {
    for engine in ["net", "model"] {
        let trace = traced(&format!("explained-{engine}.txt"), engine);
        let (story, complaint, code) = said(&lb_sim(&["explain", &trace, &retried(&trace)]));
        assert_eq!(code, Some(0), "{complaint}");
        let mut from = 0;
        for part in [
            "looks for a backend: attempt 1",
            "attempt 1 goes to",
            "means to answer 523",
            "attempt 1: the head of an answer, 523",
            "the backend has not acted on it, so any method may go elsewhere",
            "left out, tried",
            "attempt 2 goes to",
            "the client has its whole answer, 200",
        ] {
            let found = story[from..].find(part);
            from += found.unwrap_or_else(|| panic!("{part} behind byte {from} of\n{story}"));
        }
    }
}

#[test]
fn a_trace_that_is_no_longer_true_is_not_explained() {
    let trace = traced("outdated.txt", "model");
    let text = fs::read_to_string(&trace).unwrap();
    fs::write(&trace, text.replace("says=523", "says=522")).unwrap();
    let (_, complaint, code) = said(&lb_sim(&["explain", &trace, "1"]));
    assert_eq!(code, Some(1));
    for part in
        ["is of another scenario or another lb-sim", "says=522", "says=523", "write it again"]
    {
        assert!(complaint.contains(part), "{part} in {complaint}");
    }
}

#[test]
fn what_cannot_be_explained_is_said_so() {
    let trace = traced("explained.txt", "model");
    let (_, complaint, code) = said(&lb_sim(&["explain", &trace, "99999999"]));
    assert!(code == Some(1) && complaint.contains("no such request in this run"), "{complaint}");
    let (_, complaint, code) = said(&lb_sim(&["explain", &trace, "first"]));
    assert!(code == Some(2) && complaint.contains("exchange=1476"), "{complaint}");
    let garbage = temporary("garbage.txt");
    fs::write(&garbage, "what\n").unwrap();
    let (_, complaint, code) = said(&lb_sim(&["explain", &garbage, "1"]));
    assert!(code == Some(1) && complaint.contains(":1: does not say which run"), "{complaint}");
}

#[test]
fn the_other_of_two_is_named_right_after_a_reload_that_moved_places() {
    let config = |table: &str, backends: &str| {
        format!(
            "[[{table}.listener]]\nbind = \"0.0.0.0:8080\"\n[[{table}.service]]\nname = \"web\"\n\
             hosts = [\"*\"]\n[[{table}.service.pool]]\nbackends = [{backends}]\n"
        )
    };
    let (a, b) = ("{ url = \"http://a\" }", "{ url = \"http://b\" }");
    let text = format!(
        "# Two backends change places.\nschema = 1\nduration = \"4s\"\n[workload]\nrate = 200\n\
         [[origin]]\nat = \"a:80\"\nlatency = \"30ms\"\n\
         [[origin]]\nat = \"b:80\"\nlatency = \"30ms\"\n{}\
         [[action]]\nat = \"1s\"\nkind = \"reload\"\n{}",
        config("config", &format!("{a}, {b}")),
        config("action.config", &format!("{b}, {a}")),
    );
    let (file, trace) = (temporary("places.toml"), temporary("places.txt"));
    fs::write(&file, text).unwrap();
    let run = lb_sim(&["run", &file, "--engine", "model", "--trace", &trace]);
    assert_eq!(run.status.code(), Some(0), "{}", said(&run).0);
    for request in ["50", "500"] {
        let (story, complaint, code) = said(&lb_sim(&["explain", &trace, request]));
        assert_eq!(code, Some(0), "{complaint}");
        let line = story.lines().find(|line| line.contains("of two drawn")).unwrap();
        assert!(line.contains("a:80") && line.contains("b:80"), "{line}");
    }
}

#[test]
fn a_service_that_bounds_its_load_comes_back_at_loads_where_another_does_not() {
    let map = |example: &str| {
        let file = format!("docs/examples/{example}.toml");
        let args = ["map", &file, "--seeds", "1", "--stable", "70"];
        said(&lb_sim(&args))
    };
    let (open, complaint, code) = map("least-request");
    assert_eq!(code, Some(131), "{open}{complaint}");
    assert!(open.contains('✗'), "{open}");
    let (bounded, complaint, code) = map("limits");
    assert_eq!(code, Some(0), "{bounded}{complaint}");
    let (_, complaint, code) = said(&lb_sim(&["map", "docs/examples/limits.toml", "--x", "size"]));
    assert!(code == Some(1) && complaint.contains("--x and --y are the same"), "{complaint}");
    let (_, complaint, code) = said(&lb_sim(&["map", "docs/examples/limits.toml", "--load", "40"]));
    assert!(code == Some(1) && complaint.contains("--load says nothing where --x"), "{complaint}");
}

#[test]
fn a_cell_in_which_nobody_asked_before_the_trouble_is_not_as_before() {
    let text = "[[listener]]\nbind = \"127.0.0.1:8080\"\n[[service]]\nname = \"web\"\n\
                hosts = [\"*\"]\n[[service.pool]]\nbackends = [{ url = \"http://10.0.0.1\" }]\n";
    let config = lb_config::load(&lb_config::Source { name: "lb.toml", text }).0.unwrap();
    let latency = Latency::Lognormal { median: Duration::from_millis(20), sigma: 0.6 };
    let setting = Setting { rate: 100.0, latency, load: 1.0 };
    let stage = Stage::new(&config, Path::new("lb.toml"), 0, &setting);
    let again = Again { tries: 3, after: Duration::from_millis(500) };
    let patience = Patience { timeout: Duration::from_secs(2), again };
    let lasts = Duration::from_secs(1);
    let fate = |load: f64| {
        let spot = Spot { load, size: 0.5, lasts };
        fate(&scenario(&stage, Trigger::Brownout, patience, spot), lasts, 1..=1)
    };
    assert_eq!(fate(0.3), Ok(Fate::Recovered(Duration::ZERO)));
    let why = fate(1e-6).unwrap_err();
    assert!(why.contains("nobody asked before the trouble"), "{why}");
}
