//! What is said about every mistake that can be made: text in, diagnostics out.

mod addresses;
mod affinity;
mod balance;
mod edits;
mod discovery;
mod doubts;
mod effects;
mod health;
mod limits;
mod routes;
mod steering;
mod structure;
mod syntax;
mod tls;
mod tracing;
mod trust;
mod values;

use expect_test::Expect;
use lb_config::{Severity, Source, load};

/// A file without mistakes, to which the tests add theirs.
const SOUND: &str = r#"[[listener]]
bind = "0.0.0.0:8080"

[[service]]
name = "web"
hosts = ["*"]

[[service.pool]]
backends = [{ url = "http://10.0.0.1:3000" }, { url = "http://10.0.0.2:3000" }]
"#;

#[expect(clippy::needless_pass_by_value, reason = "calls read best with the text in place")]
fn check(text: &str, expected: Expect) {
    let (config, diagnostics) = load(&Source { name: "lb.toml", text });
    let errors = diagnostics.iter().any(|found| found.severity == Severity::Error);
    assert_eq!(config.is_none(), errors, "a configuration exactly if there is no error");
    let lines: Vec<String> = diagnostics.iter().map(|found| format!("{found}\n")).collect();
    expected.assert_eq(&lines.concat());
}

/// All diagnostics of several files.
#[expect(clippy::needless_pass_by_value, reason = "calls read best with the text in place")]
fn check_each(texts: &[String], expected: Expect) {
    let found = texts.iter().flat_map(|text| load(&Source { name: "lb.toml", text }).1);
    let lines: Vec<String> = found.map(|found| format!("{found}\n")).collect();
    expected.assert_eq(&lines.concat());
}

/// Puts `lines` before [`SOUND`]: top-level tables.
fn check_top(lines: &str, expected: Expect) {
    check(&format!("{lines}\n{SOUND}"), expected);
}

/// Puts `lines` into the service of [`SOUND`], from line 7 on.
fn check_service(lines: &str, expected: Expect) {
    let text = SOUND.replace("\n\n[[service.pool]]", &format!("\n{lines}\n\n[[service.pool]]"));
    check(&text, expected);
}

/// One listener and one service with these `hosts`, at line 5.
fn check_hosts(hosts: &str, expected: Expect) {
    check(&SOUND.replace("[\"*\"]", hosts), expected);
}

/// One listener and one service with these backends, at line 9.
fn check_backends(backends: &str, expected: Expect) {
    let start = SOUND.find("backends").expect("there are backends");
    check(&format!("{}backends = {backends}", &SOUND[..start]), expected);
}

/// One listener and one service with these pools, at line 8.
fn check_pools(pools: &str, expected: Expect) {
    let start = SOUND.find("\n[[service.pool]]").expect("there is a pool");
    check(&format!("{}\npool = {pools}", &SOUND[..start]), expected);
}
