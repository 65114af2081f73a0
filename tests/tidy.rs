//! What STYLE.md and ARCHITECTURE.md ask of every file, as far as a machine can read it.
//!
//! A rule is a function from a file to the lines that break it. Each test first shows that the
//! rule can fail, on a sample that breaks it and one that does not, and then reads the whole tree.
//! A failure says `file:line: remedy`. Rules about whole packages are in `tidy/supply.rs`, and what
//! holds a document to the code it tells of in `tidy/access_log.rs`; lengths of functions and forbidden
//! calls are clippy's.

mod tidy {
    mod access_log;
    pub(crate) mod spdx;
    mod supply;
    pub(crate) mod tree;
}

use tidy::tree::{File, files, read, root};

/// Lines of a source file, and of a test or benchmark, which hold tables and samples.
const LINES_MAX: usize = 400;
const TEST_LINES_MAX: usize = 600;
/// Lines of a decision record: one page.
const DECISION_LINES_MAX: usize = 60;

/// No line that breaks a rule.
const CLEAN: [usize; 0] = [];
/// Where a compare-and-swap may stand.
const WORD: &str = "lb-core/src/word.rs";
/// Where a socket may be opened, besides tests: the platforms.
const PLATFORMS: [&str; 6] = [
    "lb-server/src/platform/os.rs",
    "lb-server/src/platform/os/sockets.rs",
    "lb-server/src/platform/os/inheritance.rs",
    "lb-server/src/platform/os/succession.rs",
    "lb-sim/src/street.rs",
    "lb-sim/src/world.rs",
];
/// The workspace's crates: each may use those before it.
const CRATES: [&str; 4] = ["lb_core", "lb_config", "lb_server", "lb_sim"];
/// Where a newcomer looks for scenarios and decisions.
const MAPS: [&str; 6] = [
    "README.md",
    "ARCHITECTURE.md",
    "scenarios/README.md",
    "docs/papers.md",
    "docs/incidents.md",
    "docs/decisions/README.md",
];

#[test]
fn a_file_says_one_thing_in_few_lines() {
    const RULE: Rule = Rule {
        broken: |file| {
            let lines_max = if file.is_test() { TEST_LINES_MAX } else { LINES_MAX };
            let is_long = file.is(".rs") && file.lines().count() > lines_max;
            is_long.then(|| file.lines().count()).into_iter().collect()
        },
        remedy: "more than 400 lines (tests and benches: 600); split it by word",
    };
    assert_eq!(RULE.lines("lb-core/src/a.rs", &"//!\n".repeat(400)), CLEAN);
    assert_eq!(RULE.lines("lb-core/src/a.rs", &"//!\n".repeat(401)), [401]);
    assert_eq!(RULE.lines("tests/a.rs", &"//!\n".repeat(401)), CLEAN);
    assert_eq!(RULE.lines("tests/a.rs", &"//!\n".repeat(601)), [601]);
    RULE.check_tree();
}

#[test]
fn a_file_begins_with_what_it_says() {
    const RULE: Rule = Rule {
        broken: |file| {
            let is_mute = file.is(".rs") && !file.text.starts_with("//! ");
            is_mute.then_some(1).into_iter().collect()
        },
        remedy: "the first line is `//! ` and the one thing that this file says",
    };
    assert_eq!(RULE.lines("a.rs", "//! Dice.\n"), CLEAN);
    assert_eq!(RULE.lines("a.rs", "use core::fmt;\n//! Dice.\n"), [1]);
    RULE.check_tree();
}

#[test]
fn a_lower_crate_never_names_a_higher_one() {
    const RULE: Rule = Rule {
        broken: |file| {
            let home = file.path.split('/').next().unwrap_or_default().replace('-', "_");
            let Some(rank) = CRATES.iter().position(|name| *name == home) else { return vec![] };
            let is_code = file.is(".rs") || file.is("Cargo.toml");
            file.code()
                .filter(|(_, line)| {
                    let line = line.replace('-', "_");
                    is_code && CRATES[rank + 1..].iter().any(|name| has_word(&line, name))
                })
                .map(|(number, _)| number)
                .collect()
        },
        remedy: "arrows point one way: lb-core ← lb-config ← lb-server ← lb-sim",
    };
    assert_eq!(RULE.lines("lb-config/src/a.rs", "use lb_core::Time;\n// lb_sim knows\n"), CLEAN);
    assert_eq!(RULE.lines("lb-config/src/a.rs", "\nuse lb_server::run;\n"), [2]);
    assert_eq!(RULE.lines("lb-server/Cargo.toml", "[dev-dependencies]\nlb-sim.path = \"\"\n"), [2]);
    assert_eq!(RULE.lines("tests/a.rs", "use lb_sim::run;\n"), CLEAN);
    RULE.check_tree();
}

#[test]
fn decisions_know_no_runtime_no_protocol_and_no_format() {
    const RULE: Rule = Rule {
        broken: |file| {
            let foreign = ["tokio", "hyper", "hyper_util", "http", "serde", "serde_json", "toml"];
            let is_source = file.is(".rs") || file.is("Cargo.toml");
            let is_core = is_source && file.path.starts_with("lb-core/");
            file.code()
                .filter(|(_, line)| {
                    let line = line.replace('-', "_");
                    is_core && foreign.iter().any(|name| names_crate(&line, name))
                })
                .map(|(number, _)| number)
                .collect()
        },
        remedy: "lb-core decides and nothing else; this belongs in a higher crate",
    };
    assert_eq!(RULE.lines("lb-core/src/a.rs", "// as tokio::time does\nlet http = 1;\n"), CLEAN);
    assert_eq!(RULE.lines("lb-core/src/a.rs", "\n#[derive(serde::Serialize)]\n"), [2]);
    assert_eq!(RULE.lines("lb-core/Cargo.toml", "[dependencies]\ntokio.workspace = true\n"), [2]);
    assert_eq!(RULE.lines("lb-server/src/a.rs", "use tokio::net;\n"), CLEAN);
    RULE.check_tree();

    let lib = read("lb-core/src/lib.rs");
    assert!(lib.contains("#![no_std]"), "lb-core/src/lib.rs:1: lb-core is no_std");
}

#[test]
fn every_select_is_biased() {
    const RULE: Rule = Rule {
        broken: |file| {
            if !file.is(".rs") || is_a_rulebook(file) {
                return vec![];
            }
            let code: String = file.code().flat_map(|(_, line)| [line, "\n"]).collect();
            code.match_indices("select!")
                .filter(|(at, name)| {
                    let body = code[at + name.len()..].trim_start().get(1..).unwrap_or_default();
                    !body.trim_start().starts_with("biased;")
                })
                .map(|(at, _)| code[..at].lines().count().max(1))
                .collect()
        },
        remedy: "begin the select with `biased;`: a fair one rolls dice that do not replay",
    };
    assert_eq!(RULE.lines("a.rs", "tokio::select! {\n    // order\n    biased;\n}"), CLEAN);
    assert_eq!(RULE.lines("a.rs", "\n    tokio::select! {\n    x = y => {}\n}"), [2]);
    assert_eq!(RULE.lines("a.rs", "select! { x = y => {} }"), [1]);
    RULE.check_tree();
}

#[test]
fn one_file_compares_and_swaps() {
    const RULE: Rule = Rule {
        broken: |file| {
            let swaps = ["compare_exchange", "compare_exchange_weak", "fetch_update", "try_update"];
            lines_with(file, |line| {
                file.path != WORD && swaps.iter().any(|name| has_word(line, name))
            })
        },
        remedy: "make it a Word and change it by Shared::step (lb-core/src/word.rs)",
    };
    assert_eq!(RULE.lines("lb-core/src/a.rs", "// not compare_exchange\na.fetch_add(1);\n"), CLEAN);
    assert_eq!(RULE.lines("lb-core/src/a.rs", "a.compare_exchange_weak(0, 1)\n"), [1]);
    assert_eq!(RULE.lines("lb-core/src/a.rs", "\na.fetch_update(f)\n"), [2]);
    assert_eq!(RULE.lines(WORD, "a.compare_exchange_weak(0, 1)\n"), CLEAN);
    RULE.check_tree();
}

#[test]
fn two_platforms_open_sockets() {
    const RULE: Rule = Rule {
        broken: |file| {
            let is_allowed = file.is_test() || PLATFORMS.contains(&&*file.path);
            let sockets = [
                "TcpStream",
                "TcpListener",
                "TcpSocket",
                "UdpSocket",
                "UnixStream",
                "UnixListener",
                "socket2",
            ];
            lines_with(file, |line| !is_allowed && sockets.iter().any(|name| has_word(line, name)))
        },
        remedy: "ask the Platform to listen or dial; only platforms and tests open sockets",
    };
    assert_eq!(RULE.lines("lb-server/src/a.rs", "// a TcpStream\nlet io: Box<dyn Io>;\n"), CLEAN);
    assert_eq!(RULE.lines("lb-server/src/a.rs", "TcpStream::connect(addr)\n"), [1]);
    assert_eq!(RULE.lines(PLATFORMS[0], "TcpStream::connect(addr)\n"), CLEAN);
    assert_eq!(RULE.lines("tests/e2e.rs", "TcpStream::connect(addr)\n"), CLEAN);
    RULE.check_tree();
}

#[test]
fn everything_has_a_limit() {
    const RULE: Rule = Rule {
        broken: |file| lines_with(file, |line| line.to_lowercase().contains("unbounded")),
        remedy: "give it a bound, and the bound a name",
    };
    assert_eq!(RULE.lines("a.rs", "// never unbounded\nmpsc::channel(QUEUE_MAX);\n"), CLEAN);
    assert_eq!(RULE.lines("a.rs", "let (tx, rx) = mpsc::unbounded_channel();\n"), [1]);
    assert_eq!(RULE.lines("a.rs", "tx: UnboundedSender<u8>,\n"), [1]);
    RULE.check_tree();
}

#[test]
fn nothing_is_left_for_later() {
    const RULE: Rule = Rule {
        broken: |file| {
            let is_read = file.is(".rs") || file.is(".toml") || file.is(".ci/run");
            let marks = ["TODO", "FIXME", "XXX", "HACK"];
            file.lines()
                .filter(|(_, line)| {
                    is_read && !is_a_rulebook(file) && marks.iter().any(|mark| has_word(line, mark))
                })
                .map(|(number, _)| number)
                .collect()
        },
        remedy: "do it, or write an issue; main has no notes to ourselves",
    };
    assert_eq!(RULE.lines("a.rs", "// a method to do it\n"), CLEAN);
    assert_eq!(RULE.lines("a.rs", "\n// TODO: later\n"), [2]);
    assert_eq!(RULE.lines("scenarios/a.toml", "# FIXME\n"), [1]);
    RULE.check_tree();
}

#[test]
fn no_test_is_skipped_or_happy_with_any_panic() {
    const RULE: Rule = Rule {
        broken: |file| {
            lines_with(file, |line| line.contains("#[ignore") || has_word(line, "should_panic"))
        },
        remedy: "assert a known bug as it is, with a comment; make bad input a value",
    };
    assert_eq!(RULE.lines("a.rs", "#[test]\nfn ignore() {}\n"), CLEAN);
    assert_eq!(RULE.lines("a.rs", "#[test]\n#[ignore = \"slow\"]\n"), [2]);
    assert_eq!(RULE.lines("a.rs", "#[should_panic]\n"), [1]);
    RULE.check_tree();
}

#[test]
fn a_lint_is_expected_and_never_allowed() {
    const RULE: Rule = Rule {
        broken: |file| {
            let is_manifest = file.is("Cargo.toml");
            file.code()
                .filter(|(_, line)| {
                    let is_attribute = line.trim_start().starts_with('#');
                    let allows = is_attribute && has_word(line, "allow") && line.contains("allow(");
                    !is_a_rulebook(file)
                        && ((file.is(".rs") && allows)
                            || (is_manifest && line.contains("\"allow\"")))
                })
                .map(|(number, _)| number)
                .collect()
        },
        remedy: "use #[expect(.., reason = \"..\")], which tells when it is no longer needed",
    };
    assert_eq!(
        RULE.lines("a.rs", "gate.allow(now);\n#[expect(dead_code, reason = \"x\")]\n"),
        CLEAN
    );
    assert_eq!(RULE.lines("a.rs", "#[allow(dead_code)]\n"), [1]);
    assert_eq!(RULE.lines("a.rs", "#![cfg_attr(test, allow(missing_docs))]\n"), [1]);
    assert_eq!(RULE.lines("lb-sim/Cargo.toml", "[lints.clippy]\ntodo = \"allow\"\n"), [2]);
    RULE.check_tree();
}

#[test]
fn nothing_depends_on_the_machine_it_was_written_on() {
    const RULE: Rule = Rule {
        broken: |file| {
            let places = ["/work/", "/root/", "/home/", "/tmp/target", "/Users/"];
            file.lines()
                .filter(|(_, line)| {
                    !is_a_rulebook(file) && places.iter().any(|place| has_path(line, place))
                })
                .map(|(number, _)| number)
                .collect()
        },
        remedy: "write a path relative to the repository",
    };
    assert_eq!(RULE.lines("README.md", "see src/home/mod.rs and api.example.com/home/\n"), CLEAN);
    assert_eq!(RULE.lines("README.md", "cd /home/me/lb\n"), [1]);
    assert_eq!(RULE.lines("a.rs", "let a = \"/tmp/target-a/debug\";\n"), [1]);
    RULE.check_tree();
}

#[test]
fn crates_come_from_one_registry_by_its_own_name() {
    const CRATES_IO: &str = "source = \"registry+https://github.com/rust-lang/crates.io-index\"";
    const RULE: Rule = Rule {
        broken: |file| {
            let is_lock = file.is("Cargo.lock");
            let mirrors = ["replace-with", "index-url", "sparse+", "GOPROXY", "CARGO_REGISTRIES"];
            file.lines()
                .filter(|(_, line)| {
                    (is_lock && line.starts_with("source = ") && *line != CRATES_IO)
                        || (!is_a_rulebook(file) && mirrors.iter().any(|word| line.contains(word)))
                })
                .map(|(number, _)| number)
                .collect()
        },
        remedy: "a mirror or a git source is the machine's business, not the repository's",
    };
    assert_eq!(RULE.lines("Cargo.lock", CRATES_IO), CLEAN);
    assert_eq!(RULE.lines("Cargo.lock", "\nsource = \"git+https://example.com/a\"\n"), [2]);
    assert_eq!(RULE.lines(".cargo/config.toml", "[source.a]\nreplace-with = \"b\"\n"), [2]);
    RULE.check_tree();
}

#[test]
fn a_scenario_opens_with_the_sentence_it_proves() {
    const RULE: Rule = Rule {
        broken: |file| {
            let first = file.text.lines().next().unwrap_or_default();
            let is_sentence = first.starts_with("# ") && first.ends_with('.');
            (is_scenario(file) && !is_sentence).then_some(1).into_iter().collect()
        },
        remedy: "the first line is `# ` and the sentence this scenario proves, with a full stop",
    };
    assert_eq!(RULE.lines("scenarios/a.toml", "# A dead backend costs no request.\n"), CLEAN);
    assert_eq!(RULE.lines("scenarios/a.toml", "name = \"a\"\n"), [1]);
    assert_eq!(RULE.lines("scenarios/regressions/a.toml", "# tbd\n"), [1]);
    RULE.check_tree();
}

#[test]
fn every_scenario_and_decision_is_on_a_map() {
    let files = files();
    let maps: String =
        files.iter().filter(|file| MAPS.contains(&&*file.path)).map(|file| &*file.text).collect();
    let listed: Vec<&File> =
        files.iter().filter(|file| is_scenario(file) || is_decision(file)).collect();
    let lost = |maps: &str| -> Vec<String> {
        let is_lost = |file: &&&File| !maps.contains(base_name(file));
        let remedy = "link it from the README of its directory or from ARCHITECTURE.md";
        listed.iter().filter(is_lost).map(|file| format!("{}:1: {remedy}", file.path)).collect()
    };

    assert!(listed.iter().any(|file| is_scenario(file)), "scenarios are under scenarios/");
    assert!(listed.iter().any(|file| is_decision(file)), "decisions are under docs/decisions/");
    assert_eq!(lost("").len(), listed.len(), "an empty map shows nothing");
    assert_eq!(lost(&maps), Vec::<String>::new());
}

#[test]
fn a_planted_bug_has_one_place() {
    let is_lost = |text: &str, find: &str| text.matches(find).count() != 1;
    assert!(is_lost("a; a;", "a;") && is_lost("b;", "a;") && !is_lost("a; b;", "a;"));
    let list = tidy::tree::read_toml("planted/bugs.toml");
    let bugs = list["bug"].as_array().unwrap();
    let word = |bug: &toml::Value, key: &str| bug[key].as_str().unwrap().to_owned();
    let lost = bugs.iter().filter(|bug| is_lost(&read(&word(bug, "file")), &word(bug, "find")));
    let lost = lost.map(|bug| word(bug, "name"));
    assert_eq!(lost.collect::<Vec<_>>(), Vec::<String>::new(), "mend `find` in planted/bugs.toml");
}

#[test]
fn a_decision_is_one_page_of_four_parts() {
    const RULE: Rule = Rule {
        broken: |file| {
            let parts = ["## Context", "## Choice", "## Price", "## Reconsider when"];
            let found: Vec<&str> =
                file.text.lines().filter(|line| line.starts_with("## ")).collect();
            let is_page = found == parts && file.lines().count() <= DECISION_LINES_MAX;
            (is_decision(file) && !is_page).then_some(1).into_iter().collect()
        },
        remedy: "at most 60 lines: Context, Choice, Price, Reconsider when; see its README",
    };
    let page = "# A\n## Context\n## Choice\n## Price\n## Reconsider when\n";
    assert_eq!(RULE.lines("docs/decisions/0001-a.md", page), CLEAN);
    assert_eq!(RULE.lines("docs/decisions/0001-a.md", "# A\n## Choice\n"), [1]);
    assert_eq!(RULE.lines("docs/decisions/0001-a.md", &format!("{page}{}", "\n".repeat(60))), [1]);
    RULE.check_tree();
}

#[test]
fn a_link_leads_to_a_file() {
    const RULE: Rule = Rule {
        broken: |file| {
            let dir = file.path.rsplit_once('/').map_or("", |(dir, _)| dir);
            let dir = root().join(dir);
            let is_dead = |link: &str| {
                let path = link.split('#').next().unwrap_or_default();
                !path.is_empty() && !path.contains("://") && !dir.join(path).exists()
            };
            file.lines()
                .filter(|(_, line)| file.is(".md") && links(line).any(is_dead))
                .map(|(number, _)| number)
                .collect()
        },
        remedy: "a relative link must lead to a file of this repository",
    };
    assert_eq!(
        RULE.lines("README.md", "[style](STYLE.md#shape), [a](https://example.com)\n"),
        CLEAN
    );
    assert_eq!(RULE.lines("README.md", "\n[a](STYLE.md) [b](docs/nowhere.md)\n"), [2]);
    RULE.check_tree();
}

/// What must not be, and what to do about it.
struct Rule {
    /// The lines of a file that break the rule.
    broken: fn(&File) -> Vec<usize>,
    remedy: &'static str,
}

impl Rule {
    fn lines(&self, path: &str, text: &str) -> Vec<usize> {
        (self.broken)(&File::sample(path, text))
    }

    fn check_tree(&self) {
        let mut findings = String::new();
        for file in files() {
            for line in (self.broken)(&file) {
                findings += &format!("\n{}:{line}: {}", file.path, self.remedy);
            }
        }
        assert!(findings.is_empty(), "{findings}\n");
    }
}

/// The lines of a source file whose code is such. Rulebooks are full of bad samples and left out.
fn lines_with(file: &File, is_such: impl Fn(&str) -> bool) -> Vec<usize> {
    let is_read = file.is(".rs") && !is_a_rulebook(file);
    file.code().filter(|(_, line)| is_read && is_such(line)).map(|(number, _)| number).collect()
}

/// Whether it is one of the files that have to name what is forbidden.
fn is_a_rulebook(file: &File) -> bool {
    ["tests/tidy.rs", "tests/tidy/supply.rs"].contains(&&*file.path)
}

fn is_scenario(file: &File) -> bool {
    file.path.starts_with("scenarios/") && file.is(".toml")
}

fn is_decision(file: &File) -> bool {
    file.path.starts_with("docs/decisions/") && file.is(".md") && base_name(file) != "README.md"
}

fn base_name(file: &File) -> &str {
    file.path.rsplit('/').next().unwrap_or(&file.path)
}

/// Whether `word` stands in `line` with no letter, digit or `_` next to it.
fn has_word(line: &str, word: &str) -> bool {
    let is_part = |letter: char| letter.is_alphanumeric() || letter == '_';
    line.match_indices(word).any(|(at, _)| {
        !line[..at].ends_with(is_part) && !line[at + word.len()..].starts_with(is_part)
    })
}

/// Whether an absolute path that begins with `place` stands in `line`.
fn has_path(line: &str, place: &str) -> bool {
    let is_part = |letter: char| letter.is_alphanumeric() || "_-.}".contains(letter);
    line.match_indices(place).any(|(at, _)| !line[..at].ends_with(is_part))
}

/// Whether a line of Rust uses a crate, or one of a manifest names it as a dependency.
fn names_crate(line: &str, name: &str) -> bool {
    let begins = line.trim_start().strip_prefix(name).is_some_and(|rest| {
        rest.starts_with(".workspace") || rest.starts_with(".version") || rest.starts_with(" = {")
    });
    begins || (has_word(line, name) && line.contains(&format!("{name}::")))
}

/// Where the Markdown links of a line lead.
fn links(line: &str) -> impl Iterator<Item = &str> {
    line.split("](").skip(1).filter_map(|rest| rest.split(')').next())
}
