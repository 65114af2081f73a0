//! `lb-sim check` and `lb-sim diff`: what a user is told of a configuration, and of a change to it.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

const BACKENDS: &str = "[[service.pool]]\nbackends = [{ url = \"http://10.0.0.1\" }, \
     { url = \"http://10.0.0.2\" }, { url = \"http://10.0.0.3\" }]\n";

/// A configuration of one service, with these lines about it.
fn written(name: &str, about: &str) -> PathBuf {
    let file = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(format!("{name}.toml"));
    let listener = "[[listener]]\nbind = \"127.0.0.1:8080\"";
    let service = "[[service]]\nname = \"web\"\nhosts = [\"*\"]";
    fs::write(&file, format!("{listener}\n{service}\n{about}\n{BACKENDS}")).unwrap();
    file
}

fn check(name: &str, about: &str, args: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_lb-sim"));
    command.arg("check").arg(written(name, about)).args(["--seeds", "1"]).args(args);
    command.output().unwrap()
}

fn diff(old: &Path, new: &Path, args: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_lb-sim"));
    command.arg("diff").arg(old).arg(new).args(["--seeds", "3"]).args(args);
    command.output().unwrap()
}

fn said(output: &Output) -> (String, String, Option<i32>) {
    let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
    (text(&output.stdout), text(&output.stderr), output.status.code())
}

/// The columns of a case, from its errors on.
fn row(table: &str, case: &str) -> Vec<String> {
    let of_case = |line: &'_ str| {
        let line =
            line.strip_prefix("✗ ").or_else(|| line.strip_prefix("  "))?.strip_prefix(case)?;
        line.starts_with("  ").then(|| line.to_owned())
    };
    let line = table.lines().find_map(of_case).unwrap_or_else(|| panic!("no {case} in\n{table}"));
    line.split("  ").map(str::trim).filter(|it| !it.is_empty()).map(str::to_owned).collect()
}

/// A number without its unit.
fn number(column: &str) -> f64 {
    column.split(' ').next().unwrap().parse().unwrap()
}

#[test]
fn the_defaults_lose_no_request_to_one_backend_that_dies_and_break_no_promise() {
    let (table, _, code) = said(&check("defaults", "", &["--slo", "error_ratio@calm <= 0.5%"]));
    assert_eq!(code, Some(0), "{table}");
    assert_eq!(row(&table, "one dies")[0], "0.000 %");
    assert!(!table.contains("BROKEN") && !table.contains("MISSED"), "{table}");
    let cases = table.lines().filter(|line| line.contains(" %  ")).count();
    assert!(cases >= 19, "{table}");
}

#[test]
fn a_careless_configuration_is_told_what_to_write() {
    let careless = "[service.retry]\nattempts_max = 1\n[service.breaker]\nenabled = false\n";
    let (table, _, code) = said(&check("careless", careless, &[]));
    assert_eq!(code, Some(0), "{table}");
    let errors = number(&row(&table, "one dies")[0]);
    assert!(errors > 5.0, "a third of the requests of a third of the time: {table}");
    for remedy in ["let [service.retry] have attempts_max = 3", "let [service.breaker] or"] {
        assert!(table.contains(remedy), "{remedy} in {table}");
    }
}

#[test]
fn a_storm_of_retries_without_a_budget_is_found() {
    let storm = "[service.retry]\nattempts_max = 6\nbudget = { percent = 1000, \
                 min_per_second = 10000, burst = 10000 }\n[service.breaker]\nenabled = false\n";
    let (table, _, _) = said(&check("storm", storm, &["--case", "retry storm"]));
    let asked = number(&row(&table, "retry storm")[5]);
    assert!(asked > 1.3, "three in ten, over and over: {table}");
    assert!(table.contains("budget = { percent = 20 }"), "{table}");
}

#[test]
fn an_adaptive_limit_that_turns_away_in_calm_weather_is_told_of() {
    let adaptive = "[service.limits]\nadaptive = { enabled = true }\n";
    let (table, _, _) = said(&check("adaptive", adaptive, &["--case", "hits and misses"]));
    assert!(number(&row(&table, "hits and misses")[0]) > 1.0, "{table}");
    assert!(table.contains("let adaptive of [service.limits] have a larger min"), "{table}");
    let (table, _, _) = said(&check("unlimited", "", &["--case", "hits and misses"]));
    assert!(table.contains("nothing to change was found"), "{table}");
}

#[test]
fn what_is_missed_is_not_said_to_be_well() {
    let level = ["--case", "steady", "--slo", "p50 < 1ms"];
    let (table, _, code) = said(&check("too-slow", "", &level));
    assert_eq!(code, Some(131), "{table}");
    assert!(table.contains("no setting is known to help") && !table.contains("nothing to change"));
}

#[test]
fn a_service_level_that_is_missed_has_an_exit_code_and_a_line() {
    let level = ["--case", "all die", "--slo", "error_ratio < 0.1%"];
    let (table, _, code) = said(&check("missed", "", &level));
    assert_eq!(code, Some(131), "{table}");
    let errors = &row(&table, "all die")[0];
    let missed = format!("MISSED  all die: error_ratio < 0.1%: it is {}", &errors[..4]);
    assert!(table.contains(&missed), "what the table says, {missed}, in\n{table}");
    assert!(table.contains("✗ all die"), "{table}");
}

#[test]
fn a_level_is_missed_where_there_is_nothing_to_measure() {
    // At one request a second there are seconds without any.
    let rare = ["--rate", "1", "--case", "one dies", "--slo", "errors@13s..14s >= 0"];
    let (table, _, code) = said(&check("nothing", "", &rare));
    assert_eq!(code, Some(131), "{table}");
    let missed = "MISSED  one dies: errors@13s..14s >= 0: there was nothing to measure";
    assert!(table.contains(missed), "{table}");
    // What happens at one moment has no meanwhile.
    let moment = ["--case", "a weight changes", "--slo", "errors@faults == 0"];
    let (table, complaint, code) = said(&check("moment", "", &moment));
    assert_ne!(code, Some(131), "{table}{complaint}");
}

#[test]
fn what_nobody_meets_holds_no_level() {
    let many: Vec<String> = (0..200).map(|nth| format!("{{ url = \"http://b{nth}\" }}")).collect();
    let pool = format!("[[service.pool]]\nname = \"many\"\nbackends = [{}]\n", many.join(", "));
    let pool = format!("{pool}[[service.pool]]\nname = \"few\"");
    let level = ["--rate", "1", "--case", "one dies", "--slo", "error_ratio <= 100%"];
    let file = written("unmet", "");
    let text = fs::read_to_string(&file).unwrap().replace("[[service.pool]]", &pool);
    fs::write(&file, text).unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_lb-sim"));
    command.arg("check").arg(&file).args(["--seeds", "1"]).args(level);
    let (table, complaint, code) = said(&command.output().unwrap());
    assert_eq!(code, Some(131), "{table}{complaint}");
    assert!(table.contains("UNSEEN  one dies") && table.contains("MISSED  one dies"), "{table}");
    assert!(table.contains("which say little; rehearse with a higher --rate"), "{table}");
}

#[test]
fn trouble_befalls_those_who_are_asked() {
    let standby = "[service.steering]\npolicy = \"weighted\"\n[[service.pool]]\nname = \"standby\"\n\
                   weight = 0\nbackends = [{ url = \"http://10.0.0.9\" }]\n";
    let file = written("standby", standby);
    let text = fs::read_to_string(&file).unwrap();
    let at = text.rfind("[[service.pool]]\n").unwrap();
    fs::write(
        &file,
        format!("{}[[service.pool]]\nname = \"main\"\n{}", &text[..at], &text[at + 17..]),
    )
    .unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_lb-sim"));
    command.arg("check").arg(&file).args([
        "--seeds",
        "1",
        "--case",
        "one dies",
        "--case",
        "a zone goes",
    ]);
    let (table, complaint, code) = said(&command.output().unwrap());
    assert_eq!(code, Some(0), "{complaint}");
    assert!(!table.contains("UNSEEN"), "{table}");
}

#[test]
fn a_breaker_that_waits_for_too_many_in_a_row_is_told_of() {
    let row = |count| format!("[service.breaker]\nconsecutive_failures = {count}\n");
    let half = ["--case", "one half fails"];
    let (table, complaint, _) = said(&check("far", &row(50), &half));
    assert!(table.contains("have consecutive_failures = 5"), "{table}{complaint}");
    let (table, complaint, _) = said(&check("near", &row(5), &half));
    assert!(!table.contains("consecutive_failures"), "{table}{complaint}");
}

#[test]
fn a_level_of_a_time_is_about_that_time_where_nothing_goes_wrong_as_well() {
    let level = ["--case", "steady", "--slo", "attempts@10s..11s <= 1000"];
    let (table, _, code) = said(&check("at-a-time", "", &level));
    assert_eq!(code, Some(0), "200 a second: {table}");
}

#[test]
fn what_makes_no_sense_is_said_so() {
    let (_, complaint, code) = said(&check("nobody", "", &["--service", "api"]));
    assert_eq!(
        (complaint.trim(), code),
        ("there is no service \"api\"; its services: web", Some(1))
    );
    let (_, complaint, _) = said(&check("bare", "", &["--slo", "p99 <= 250"]));
    assert!(complaint.contains("bare number; write the unit, as in 250ms"), "{complaint}");
    let (_, complaint, _) = said(&check("percent", "", &["--slo", "errors < 5%"]));
    assert!(complaint.contains("compares a count with a percentage"), "{complaint}");
    let (_, complaint, code) = said(&check("no-case", "", &["--case", "one flies"]));
    assert!(
        code == Some(1)
            && complaint.contains("there is no case \"one flies\" here: there are steady")
    );
    let (_, complaint, _) = said(&check("no-checks", "", &["--case", "a false alarm"]));
    assert!(complaint.contains("there are no health checks"), "{complaint}");
    let tcp = "[service.health]\nenabled = true\ntype = \"tcp\"";
    let (_, complaint, _) = said(&check("tcp-checks", tcp, &["--case", "a false alarm"]));
    assert!(complaint.contains("checks by TCP look at no answer"), "{complaint}");
    let (_, complaint, code) = said(&check("unknown", "polcy = 1", &[]));
    assert_eq!(code, Some(1));
    assert!(complaint.contains("unknown key polcy"), "{complaint}");
}

#[test]
fn checks_that_take_out_who_has_more_to_do_are_told_of() {
    let checks = |more| {
        format!(
            "{more}[service.health]\nenabled = true\ninterval = \"1s\"\ntimeout = \"200ms\"\nfall = 2\n\
             [service.breaker]\nenabled = false\n"
        )
    };
    let hasty = ["--case", "ten times the load"];
    let (table, complaint, _) = said(&check("hasty", &checks(""), &hasty));
    let told = "checks take out who has more to do than before";
    assert!(table.contains(told), "{table}{complaint}");
    let open = checks("when_all_unfit = \"fail-open\"\n");
    let (table, _, _) = said(&check("hasty-open", &open, &hasty));
    assert!(!table.contains(told), "{table}");
}

#[test]
fn a_limit_that_turns_clients_away_is_no_perfect_world() {
    let limit = "[service.rate_limit]\nenabled = true\nrequests = 50\nkey = [\"text:all\"]\n";
    let (table, complaint, code) = said(&check("limited", limit, &["--case", "steady"]));
    assert_eq!(code, Some(0), "{complaint}");
    let limited = number(&row(&table, "steady")[1]);
    assert!((60.0..80.0).contains(&limited), "150 of 200 in a second: {table}");
    assert!(table.contains("are answered 429, and nothing is wrong"), "{table}");
}

#[test]
fn clients_are_told_apart_by_whatever_the_service_looks_at() {
    for key in ["client-ip", "header:x-tenant", "cookie:sid", "path", "query", "query:id"] {
        let hash = format!("[service.balance]\npolicy = \"maglev\"\nhash = [{key:?}]\n");
        let (table, complaint, code) = said(&check("keyed", &hash, &["--case", "one dies"]));
        assert_eq!(code, Some(0), "{complaint}");
        assert!(!table.contains("UNSEEN"), "somebody asks every backend by {key}: {table}");
    }
}

#[test]
fn a_change_that_changes_nothing_differs_in_nothing() {
    let (same, other) = (written("same", ""), written("other", "# another comment\n"));
    let (table, _, code) = said(&diff(&same, &other, &[]));
    assert_eq!(code, Some(0));
    assert!(table.contains("nothing differs beyond chance"), "the dice are the same: {table}");
}

#[test]
fn a_change_for_the_worse_is_told_in_numbers() {
    let old = written("retries", "");
    let new = written("no-retries", "[service.retry]\nattempts_max = 1\n");
    let (table, _, code) = said(&diff(&old, &new, &["--slo", "error_ratio@faults <= 0.1%"]));
    assert_eq!(code, Some(131), "{table}");
    let dies = table.lines().find(|line| line.contains("one dies") && line.contains("errors"));
    assert!(dies.is_some_and(|line| line.contains(" +")), "more errors, surely: {table}");
    let (gone, _, _) = said(&diff(&written("web", ""), &renamed("web", "api"), &[]));
    assert!(gone.contains("service api is new") && gone.contains("service web is gone"), "{gone}");
}

/// The same configuration with its service under another name.
fn renamed(name: &str, other: &str) -> PathBuf {
    let text = fs::read_to_string(written(name, "")).unwrap();
    let file = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(format!("{name}-{other}.toml"));
    fs::write(&file, text.replace("\"web\"", &format!("\"{other}\""))).unwrap();
    file
}

#[test]
fn a_configuration_that_asks_for_it_is_not_said_to_break_a_promise() {
    let about = "[service.retry]\nmethods = \"any\"\n[service.limits]\nper_backend = 8\n";
    let (table, _, code) = said(&check("asked-for", about, &[]));
    assert!(code == Some(0) && !table.contains("BROKEN"), "{table}");
}

#[test]
fn every_remedy_for_a_breaker_can_be_written() {
    let cure = "[service.breaker]\nopen_for = \"2s\"\nopen_for_max = \"5s\"\n";
    let (table, complaint, code) = said(&check("cured", cure, &[]));
    assert_eq!(code, Some(0), "{complaint}");
    assert!(!table.contains("open_for_max"), "it is cured: {table}");
}

#[test]
fn a_level_about_nobody_is_no_level() {
    let (_, complaint, code) = said(&check("about-nobody", "", &["--slo", "share(b9:1) <= 0"]));
    assert_eq!(code, Some(1));
    assert!(complaint.contains("service web has no backend at b9:1"), "{complaint}");
}

/// The same with so many backends.
fn of(name: &str, about: &str, backends: std::ops::RangeInclusive<u32>) -> PathBuf {
    let backends = backends.map(|nth| format!("{{ url = \"http://10.0.0.{nth}\" }}"));
    let backends = format!("backends = [{}]\n", backends.collect::<Vec<_>>().join(", "));
    let file = written(name, about);
    let text = fs::read_to_string(&file).unwrap();
    let at = text.find("backends = ").unwrap();
    fs::write(&file, format!("{}{backends}", &text[..at])).unwrap();
    file
}

/// The line of a comparison about this number of this case, if it surely differs.
fn differs(table: &str, case: &str, number: &str) -> Option<String> {
    let mut lines = table.lines().filter(|line| line.trim_start().starts_with(case));
    lines.find(|line| line.split_whitespace().any(|word| word == number)).map(str::to_owned)
}

#[test]
fn both_configurations_are_served_by_the_same_machines() {
    let (four, two) = (of("four", "", 1..=4), of("two", "", 1..=2));
    let world = ["--rate", "100", "--load", "80"];
    let (table, complaint, _) = said(&diff(&four, &two, &world));
    assert!(
        table.contains("4 and 2 backends with 4 and 2 places") && table.contains("60 % and 120 %"),
        "{table}{complaint}"
    );
    let p99 = differs(&table, "steady", "p99");
    assert!(p99.is_some_and(|line| line.contains(" +")), "half of the machines are gone: {table}");
    // Weights say who is asked, and not how large he is.
    let (table, _, _) = said(&diff(&two, &weighed(&two), &world));
    assert!(table.contains("2 backends with 4 places"), "{table}");
    let p99 = differs(&table, "steady", "p99");
    assert!(p99.is_some_and(|line| line.contains(" +")), "one of two gets nine tenths: {table}");
}

/// The same with nine times the weight for the first backend.
fn weighed(file: &Path) -> PathBuf {
    let text = fs::read_to_string(file).unwrap();
    let other = file.with_extension("weighed.toml");
    fs::write(&other, text.replacen("\" }", "\", weight = 9 }", 1)).unwrap();
    other
}

#[test]
fn a_machine_that_is_new_is_as_large_as_the_others() {
    let (old, new) = (of("old-machines", "", 1..=2), of("new-machines", "", 2..=3));
    let (table, _, _) = said(&diff(&old, &new, &["--rate", "200", "--load", "80"]));
    let note = "new, and with 3 places, as the others have on average: 10.0.0.3:80";
    assert!(table.contains(note) && table.contains("2 backends with 6 places"), "{table}");
}

#[test]
fn the_load_that_is_told_is_the_load_that_comes_of_it() {
    let many = of("many", "", 1..=20);
    let steady = |args: &[&str]| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_lb-sim"));
        command.arg("check").arg(&many).args(["--seeds", "1", "--case", "steady"]).args(args);
        let (table, complaint, code) = said(&command.output().unwrap());
        assert_eq!(code, Some(0), "{complaint}");
        table
    };
    let (calm, busy) = (steady(&["--load", "25"]), steady(&["--load", "90"]));
    assert!(calm.contains("208 requests/s") && calm.contains("25 % busy"), "{calm}");
    assert!(busy.contains("751 requests/s") && busy.contains("90 % busy"), "{busy}");
    let p99 = |table: &str| number(&row(table, "steady")[2]);
    assert!(p99(&busy) > 1.5 * p99(&calm), "{calm}{busy}");
    let fixed = steady(&["--rate", "200", "--load", "90"]);
    assert!(fixed.contains("24 % busy") && fixed.contains("--rate 751 makes it 90 %"), "{fixed}");
    let cured = steady(&["--rate", "751", "--load", "90"]);
    assert!(cured.contains("90 % busy") && !cured.contains("half of a place"), "{cured}");
    assert!(!busy.contains("--rate"), "{busy}");
}

#[test]
fn a_setting_that_nothing_comes_of_is_named() {
    let about =
        "body_bytes_max = \"10MiB\"\n[service.keep_alive]\nconnections_max = 2\nidle_max = 0\n";
    let route = "[[route]]\nname = \"all\"\nhosts = [\"a.test\"]\nservice = \"web\"\n\
                 mirror = { service = \"web\" }\nresponse = { status = 500 }\n";
    let server = "[server]\nconnections_max = 100\n";
    let file = written("left-out", about);
    let text = fs::read_to_string(&file).unwrap();
    fs::write(&file, format!("{server}{text}{route}")).unwrap();
    let named = [
        "[service.keep_alive] connections_max:",
        "[service.keep_alive] idle_max:",
        "[service] body_bytes_max:",
        "[route.mirror] of route all: nobody makes the copies, which are load on its backends",
        "status in [route.response] of route all:",
        "[server] connections_max:",
    ];
    let run = |args: &[&str]| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_lb-sim"));
        said(&command.args(args).output().unwrap())
    };
    let path = file.to_str().unwrap();
    let log = file.with_extension("log");
    let line = "10.1.1.1 - - [22/Nov/2026:10:00:00 +0000] \"GET / HTTP/1.1\" 200 5 \"-\" \"-\"\n";
    fs::write(&log, line.repeat(50)).unwrap();
    let commands = [
        &["check", path, "--seeds", "1", "--case", "steady"][..],
        &["diff", path, path, "--seeds", "2", "--rate", "10"],
        &["map", path, "--seeds", "1", "--capacity", "20"],
        &["replay", log.to_str().unwrap(), "--config", path],
    ];
    for command in commands {
        let (told, complaint, _) = run(command);
        for what in named {
            let note = format!("not rehearsed: {what}");
            assert_eq!(told.matches(&note).count(), 1, "{note} in {told}{complaint}");
        }
    }
    let (told, _, _) = said(&check("nothing-left-out", "", &["--case", "steady"]));
    assert!(!told.contains("not rehearsed: ["), "{told}");
}

#[test]
fn clients_that_stay_where_they_were_moved_are_as_well_off_as_before() {
    let sticky = "[service.affinity]\nby = \"cookie\"\n";
    let cases = ["--case", "one dies", "--case", "one vanishes"];
    let (table, _, _) = said(&check("sticky", sticky, &cases));
    for case in ["one dies", "one vanishes"] {
        let back = &row(&table, case)[7];
        assert!(back.strip_suffix(" s").is_some_and(|it| number(it) < 10.0), "{case}: {table}");
    }
    assert!(!table.contains("open_for"), "no breaker keeps anybody away: {table}");
}

#[test]
fn what_a_limit_sheds_is_not_laid_to_a_breaker() {
    let limit = "[service.balance]\npolicy = \"least-request\"\n[service.breaker]\nopen_for = \"2s\"\n\
                 [service.limits]\nper_backend = 8\n";
    let file = of("sheds", limit, 1..=2);
    let mut command = Command::new(env!("CARGO_BIN_EXE_lb-sim"));
    command.arg("check").arg(&file).args(["--seeds", "2", "--case", "one is slow"]);
    let (table, complaint, _) = said(&command.output().unwrap());
    assert!(number(&row(&table, "one is slow")[0]) > 1.0, "{table}{complaint}");
    let back = &row(&table, "one is slow")[7];
    assert!(back.strip_suffix(" s").is_some_and(|it| number(it) < 10.0), "by chance, or: {table}");
    assert!(!table.contains("open_for") && !table.contains("nothing to change"), "{table}");
    assert!(table.contains("% of the requests fail;\n    no setting is known to help"), "{table}");
    // Where a breaker does keep a backend away for long, it is said.
    let breaker = "[service.breaker]\nopen_for = \"30s\"\nopen_for_max = \"60s\"\n";
    let (table, _, _) = said(&check("shut", breaker, &["--case", "one dies"]));
    assert!(table.contains("have open_for = \"2s\" and open_for_max = \"5s\""), "{table}");
}

#[test]
fn a_limit_that_locks_everybody_out_is_stable_at_no_load() {
    let limit = "[service.rate_limit]\nenabled = true\nrequests = 1\nper = \"10m\"\nburst = 1\n";
    let file = written("locked-out", limit);
    let mut command = Command::new(env!("CARGO_BIN_EXE_lb-sim"));
    command.arg("map").arg(&file).args(["--seeds", "1", "--capacity", "200", "--stable", "90"]);
    let (told, _, code) = said(&command.output().unwrap());
    assert_eq!(code, Some(131), "{told}");
    assert!(told.contains("there is no load at which it comes back"), "{told}");
}

#[test]
fn what_fails_in_calm_weather_is_said_first_and_nothing_is_laid_to_the_weather() {
    let drains = "[[service.pool]]\nbackends = [{ url = \"http://10.0.0.1\", draining = true }]\n";
    for (name, about, why, remedy) in [
        (
            "narrow",
            "[service.limits]\nper_service = 1\n",
            "overloaded",
            "per_service and per_backend of",
        ),
        (
            "hasty",
            "[service.timeouts]\nfirst_byte = \"5ms\"\n",
            "first_byte_timeout",
            "have a first_byte",
        ),
        ("leaves", drains, "no_fit_backend", "let a backend not be draining"),
    ] {
        let file = if about == drains { pooled(name, about) } else { written(name, about) };
        let mut command = Command::new(env!("CARGO_BIN_EXE_lb-sim"));
        command.arg("check").arg(&file).args(["--seeds", "1"]);
        let (table, _, _) = said(&command.output().unwrap());
        let told = format!("of the requests fail, and nothing is wrong: {why};\n    ");
        let (_, after) = table.split_once(&told).unwrap_or_else(|| panic!("{told} in {table}"));
        assert!(after.starts_with("let ") && after.contains(remedy), "{remedy} in {table}");
        for wrong in ["fail-open", "open_for", "no setting", "bound what runs"] {
            assert!(!table.contains(wrong), "{wrong} in {table}");
        }
    }
}

/// A configuration of one service that has these pools and no others.
fn pooled(name: &str, pools: &str) -> PathBuf {
    let file = written(name, "");
    let text = fs::read_to_string(&file).unwrap();
    fs::write(&file, text.replace(BACKENDS, pools)).unwrap();
    file
}

#[test]
fn what_lb_server_would_refuse_is_not_rehearsed() {
    let pools = "[[service.pool]]\nmin_fit = 2\n\
                 backends = [{ url = \"http://10.0.0.1\" }, { url = \"http://10.0.0.2\" }]\n";
    let mut command = Command::new(env!("CARGO_BIN_EXE_lb-sim"));
    command.arg("check").arg(pooled("min-fit", pools)).args(["--seeds", "1"]);
    let (table, _, _) = said(&command.output().unwrap());
    assert!(
        table.contains("one is taken out: lb-server would refuse it: no pool has more"),
        "{table}"
    );
}

#[test]
fn nobody_is_said_to_be_left_alone_or_taken_back_by_chance() {
    let blind =
        "[service.balance]\npolicy = \"weighted-random\"\n[service.breaker]\nenabled = false\n";
    for (count, left) in [(20, "never"), (60, "-")] {
        let file = of(&format!("many-{count}"), blind, 1..=count);
        let mut command = Command::new(env!("CARGO_BIN_EXE_lb-sim"));
        command.arg("check").arg(&file).args(["--seeds", "5", "--rate", "200"]);
        let (table, _, _) = said(&command.args(["--case", "one dies"]).output().unwrap());
        let row = row(&table, "one dies");
        assert_eq!(row[6], left, "{table}");
        assert!(row[7].strip_suffix(" s").is_some_and(|it| number(it) < 1.0), "{table}");
    }
}

#[test]
fn advice_is_of_what_would_help() {
    let told = |name: &str, about: &str, case: &str| said(&check(name, about, &["--case", case])).0;
    let once = "[service.retry]\nattempts_max = 1\n";
    let table = told("once", once, "one half fails");
    assert!(!table.contains("attempts_max"), "a 500 is not asked again: {table}");
    let checks = "[service.breaker]\nenabled = false\n[service.health]\nenabled = true\n\
                  interval = \"30s\"\n[service.retry]\nattempts_max = 1\n";
    let table = told("seldom", checks, "one dies");
    assert!(table.contains("be enabled beside [service.health]"), "{table}");
    let strict = "[service.breaker]\nopen_for = \"2s\"\nopen_for_max = \"5s\"\n\
                  [service.affinity]\nby = \"cookie\"\nstrict = true\n";
    let table = told("strict", strict, "one dies");
    assert!(table.contains("let [service.affinity] have strict = false"), "{table}");
    let slow = "[service.slow_start]\nenabled = true\nwindow = \"10m\"\n";
    let table = told("rises", slow, "one dies");
    assert!(table.contains("let [service.slow_start] have a window of a few seconds"), "{table}");
    assert!(!table.contains("no setting"), "{table}");
}
