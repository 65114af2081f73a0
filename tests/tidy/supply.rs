//! What may be depended on, and what may be called: whole packages against `deny.toml`, and the
//! `clippy.toml` of each crate against each other.
//!
//! `cargo deny` would do the first and more, at the price of minutes to install it; this needs
//! nothing but cargo. It reads the packages that are built on this machine's platform.

use std::collections::{BTreeMap, BTreeSet};
use std::process::Command;

use serde_json::Value;

use super::spdx::is_allowed;
use super::tree::{files, read, read_toml, root};

/// What no crate may call, so that a run depends on nothing but its arguments and seed. The root
/// package has the first four alone: black-box tests live in the real world.
const FORBIDDEN: [&str; 11] = [
    "std::collections::HashMap",
    "std::collections::HashSet",
    "std::thread::sleep",
    "std::time::SystemTime::now",
    "std::net::TcpListener::bind",
    "std::net::TcpStream::connect",
    "std::thread::spawn",
    "std::time::Instant::now",
    "rand::rng",
    "tokio::sync::mpsc::unbounded_channel",
    "tokio::task::spawn_blocking",
];
const FORBIDDEN_IN_TESTS: usize = 4;
/// What decisions may not call besides.
const FORBIDDEN_IN_CORE: [&str; 5] = [
    "std::env::var",
    "std::fs::read_to_string",
    "std::sync::Mutex",
    "std::sync::RwLock",
    "tokio::time::Instant::now",
];
const CRATES_IO: &str = "registry+https://github.com/rust-lang/crates.io-index";

#[test]
fn every_licence_is_allowed() {
    let deny = read_toml("deny.toml");
    let allowed: Vec<&str> =
        strings(&deny["licenses"]["allow"]).expect("deny.toml has a list of licences");
    let refused = |package: &Value| {
        let licence = package["license"].as_str().unwrap_or("none");
        (!is_allowed(licence, &allowed)).then(|| format!("{}: {licence}", id(package)))
    };

    assert!(refused(&serde_json::json!({ "name": "a", "license": "GPL-3.0-only" })).is_some());
    assert!(refused(&serde_json::json!({ "name": "a" })).is_some(), "no licence is no permission");
    let found: Vec<String> = packages(&metadata()).iter().filter_map(refused).collect();
    assert!(found.is_empty(), "find another crate, or argue in deny.toml: {found:#?}");
}

#[test]
fn licence_expressions_leave_a_choice_or_do_not() {
    let cases = [
        ("MIT", true),
        ("GPL-3.0-only", false),
        ("MIT OR GPL-3.0-only", true),
        ("MIT AND GPL-3.0-only", false),
        ("MIT/Apache-2.0", true),
        ("(MIT OR GPL-3.0-only) AND Zlib", true),
        ("GPL-3.0-only OR MIT AND Zlib", true),
        ("(GPL-3.0-only OR MIT) AND LGPL-2.1-only", false),
        ("Apache-2.0 WITH LLVM-exception", true),
        ("MIT WITH LLVM-exception", false),
        ("(MIT", false),
        ("MIT Zlib", false),
        ("", false),
    ];
    for (expression, expected) in cases {
        let allowed = ["MIT", "Apache-2.0", "Apache-2.0 WITH LLVM-exception", "Zlib"];
        assert_eq!(is_allowed(expression, &allowed), expected, "{expression}");
    }
}

#[test]
fn no_package_is_banned_or_from_elsewhere() {
    let deny = read_toml("deny.toml");
    let bans = deny["bans"]["deny"].as_array().expect("deny.toml has a list of bans");
    let bans: BTreeSet<&str> = bans.iter().filter_map(|ban| ban["crate"].as_str()).collect();
    let refused = |package: &Value| {
        let name = package["name"].as_str().expect("a package has a name");
        // Without a source it is a member of this workspace.
        let source = package["source"].as_str().unwrap_or(CRATES_IO);
        (bans.contains(name) || source != CRATES_IO).then(|| id(package))
    };

    assert!(refused(&serde_json::json!({ "name": "openssl-sys", "source": CRATES_IO })).is_some());
    assert!(refused(&serde_json::json!({ "name": "a", "source": "git+https://a.b/c" })).is_some());
    let built = built();
    assert!(built.contains("lb-core") && built.contains("tokio"), "the tree is there");
    let metadata = metadata();
    let packages = packages(&metadata).iter().filter(|it| built.contains(text(it, "name")));
    let found: Vec<String> = packages.filter_map(refused).collect();
    assert!(found.is_empty(), "banned by deny.toml, or not from crates.io: {found:#?}");
}

#[test]
fn decisions_reach_no_runtime_through_any_dependency() {
    let foreign = ["tokio", "hyper", "serde", "serde_core", "serde_json", "http"];
    let metadata = metadata();
    let used = |name: &str| -> Vec<&str> {
        let reached = reached_from(&metadata, name);
        foreign.into_iter().filter(|name| reached.contains(name)).collect()
    };

    assert!(used("lb-server").contains(&"tokio"), "the walk finds what is there");
    assert_eq!(used("lb-core"), [""; 0], "lb-core decides and nothing else");
}

#[test]
fn every_version_has_a_bound() {
    let is_wild = |line: &str| line.contains("= \"*\"");
    assert!(is_wild("a = \"*\"") && is_wild("a = { version = \"*\" }") && !is_wild("a = \"1\""));
    for file in files().iter().filter(|file| file.is("Cargo.toml")) {
        for (number, line) in file.lines() {
            assert!(!is_wild(line), "{}:{number}: say which version is needed", file.path);
        }
    }
}

#[test]
fn every_clippy_file_forbids_what_all_forbid_and_says_why() {
    // Clippy reads the nearest file and merges nothing, so what is forgotten in one is allowed.
    let crates = ["lb-core", "lb-config", "lb-server", "lb-sim"];
    for dir in crates {
        check_clippy(&format!("{dir}/clippy.toml"), &FORBIDDEN);
    }
    check_clippy("lb-core/clippy.toml", &FORBIDDEN_IN_CORE);
    check_clippy("clippy.toml", &FORBIDDEN[..FORBIDDEN_IN_TESTS]);
}

fn check_clippy(path: &str, expected: &[&str]) {
    let config = read_toml(path);
    assert_eq!(config["too-many-lines-threshold"].as_integer(), Some(70), "{path}:1: as in STYLE");
    let reasons: BTreeMap<&str, &str> = ["disallowed-methods", "disallowed-types"]
        .iter()
        .flat_map(|list| config[*list].as_array().expect("a list of paths"))
        .map(|entry| {
            let path = entry["path"].as_str().expect("an entry has a path");
            (path, entry.get("reason").and_then(|reason| reason.as_str()).unwrap_or_default())
        })
        .collect();
    for name in expected {
        assert!(reasons.contains_key(name), "{path}:1: forbid {name}, as the others do");
    }
    for (name, reason) in reasons {
        let line = read(path).lines().position(|line| line.contains(name)).map_or(1, |at| at + 1);
        assert!(!reason.is_empty(), "{path}:{line}: say why {name} is forbidden");
    }
}

/// What cargo knows of every package that this platform builds. `Cargo.lock` and what `cargo test`
/// has fetched are enough for it: nothing is asked of a network.
fn metadata() -> Value {
    let version = output(Command::new("rustc").arg("-vV"));
    let host = version
        .lines()
        .find_map(|line| line.strip_prefix("host: "))
        .expect("rustc -vV names its host");
    let mut cargo = Command::new(env!("CARGO"));
    cargo.args(["metadata", "--format-version=1", "--locked", "--filter-platform", host]);
    serde_json::from_str(&output(cargo.current_dir(root()))).expect("cargo metadata writes JSON")
}

/// The names of all packages that are built, here, with all features, for tests too. The metadata
/// lists some more: what a feature asks for only if something else does (`ring?/alloc`), which in a
/// build nothing may do.
fn built() -> BTreeSet<String> {
    let mut cargo = Command::new(env!("CARGO"));
    cargo.args(["tree", "--workspace", "--locked", "--all-features", "--prefix=none"]);
    cargo.args(["--edges=normal,build,dev", "--format={p}"]);
    let tree = output(cargo.current_dir(root()));
    tree.lines().filter_map(|line| line.split(' ').next()).map(str::to_owned).collect()
}

fn output(command: &mut Command) -> String {
    let done = command.output().expect("cargo and rustc are on this machine");
    assert!(done.status.success(), "{command:?}: {}", String::from_utf8_lossy(&done.stderr));
    String::from_utf8(done.stdout).expect("cargo and rustc write UTF-8")
}

fn packages(metadata: &Value) -> &[Value] {
    let packages = metadata["packages"].as_array().expect("metadata lists packages");
    assert!(packages.len() > 20, "a workspace with dependencies");
    packages
}

/// The names of all packages that `from` is built with, tests and build scripts apart.
fn reached_from<'a>(metadata: &'a Value, from: &str) -> BTreeSet<&'a str> {
    let names: BTreeMap<&str, &str> = packages(metadata)
        .iter()
        .map(|package| (text(package, "id"), text(package, "name")))
        .collect();
    let nodes: BTreeMap<&str, &Value> =
        array(&metadata["resolve"], "nodes").iter().map(|node| (text(node, "id"), node)).collect();
    let start = names.iter().find(|(_, name)| **name == from).expect("a package of this workspace");
    let mut open = vec![*start.0];
    let mut seen = BTreeSet::new();
    while let Some(id) = open.pop() {
        if seen.insert(id) {
            let is_normal =
                |dep: &&Value| array(dep, "dep_kinds").iter().any(|k| k["kind"].is_null());
            open.extend(
                array(nodes[id], "deps").iter().filter(is_normal).map(|dep| text(dep, "pkg")),
            );
        }
    }
    seen.into_iter().map(|id| names[id]).collect()
}

fn id(package: &Value) -> String {
    format!("{} {}", package["name"], package["version"])
}

fn text<'a>(value: &'a Value, key: &str) -> &'a str {
    value[key].as_str().expect("metadata of the documented shape")
}

fn array<'a>(value: &'a Value, key: &str) -> &'a [Value] {
    value[key].as_array().expect("metadata of the documented shape")
}

fn strings(value: &toml::Value) -> Option<Vec<&str>> {
    value.as_array()?.iter().map(toml::Value::as_str).collect()
}
