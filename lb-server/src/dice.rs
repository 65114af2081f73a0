//! Dice for property tests that replay: the same cases in every run, and no file left behind. A failure
//! prints its input.

use proptest::test_runner::{Config, RngSeed};

pub(crate) fn replayed() -> Config {
    Config { failure_persistence: None, rng_seed: RngSeed::Fixed(7), ..Config::default() }
}
