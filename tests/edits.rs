//! Edits of requests and answers, from a line of configuration to what HTTP can carry.

mod edits {
    pub(crate) mod holds;
}

use edits::holds::check;
use proptest::prelude::*;
use proptest::sample::{Index, select};
use proptest::test_runner::RngSeed;

/// What the fuzz target begins with.
const SEEDS: [&str; 6] = [
    include_str!("../fuzz/seeds/edits/path"),
    include_str!("../fuzz/seeds/edits/prefix"),
    include_str!("../fuzz/seeds/edits/query"),
    include_str!("../fuzz/seeds/edits/headers"),
    include_str!("../fuzz/seeds/edits/redirect"),
    include_str!("../fuzz/seeds/edits/asterisk"),
];

/// What a change puts in: all that has a meaning to a url, a template or the lines of a case.
const PIECES: [&str; 30] = [
    "",
    "/",
    "//",
    "..",
    "%",
    "%2F",
    "%2e",
    "%%361",
    "%0d%0a",
    "?",
    "&",
    "=",
    "+",
    "#",
    "@",
    ":",
    "\\",
    "{",
    "}",
    "{{",
    "{path}",
    "{query}",
    "{host}",
    "{id}",
    "{client_ip}",
    "é",
    " ",
    "\t",
    "a",
    "[::1]",
];

#[test]
fn what_the_fuzz_target_begins_with_is_configured_and_asked() {
    for seed in SEEDS {
        assert!(check(seed), "{seed}");
    }
    assert!(!check("GET http://a/\nrequest.headers.set.content-length 5"), "it frames a message");
}

/// One of the seeds with some of its characters replaced.
fn changed() -> impl Strategy<Value = String> {
    let changes = prop::collection::vec((any::<Index>(), 0..3_usize, select(&PIECES[..])), 0..5);
    (select(&SEEDS[..]), changes).prop_map(|(seed, changes)| {
        let mut characters: Vec<char> = seed.chars().collect();
        for (index, length, piece) in changes {
            let start = index.index(characters.len());
            let end = (start + length).min(characters.len());
            characters.splice(start..end, piece.chars());
        }
        characters.into_iter().collect()
    })
}

proptest! {
    #![proptest_config(ProptestConfig {
        failure_persistence: None,
        rng_seed: RngSeed::Fixed(7),
        cases: 4_000,
        ..ProptestConfig::default()
    })]

    #[test]
    fn whatever_is_configured_and_asked_http_can_carry_it(case in changed()) {
        check(&case);
    }
}
