//! No text makes the reader panic, contradict itself or the core, or point outside the text.

mod robustness {
    pub(crate) mod holds;
}

use robustness::holds::{check, check_backends};

/// A valid file with every kind of value: what the fuzz target begins with.
const VALID: &str = include_str!("../../fuzz/seeds/configuration/all");

/// What mutations insert: all that has a meaning to TOML or to one of the small formats.
const PIECES: [&str; 27] = [
    "",
    "\n",
    "\"",
    "'",
    "[",
    "]",
    "{",
    "}",
    "=",
    ".",
    ",",
    "#",
    "-",
    "0",
    "9999999999999999999999",
    "1e400",
    "nan",
    "é",
    "\u{0}",
    "\"\"\"",
    "://",
    "*",
    "[[service]]\n",
    "true",
    "[[route]]\n",
    "{id}",
    "%",
];

/// A small generator of numbers (xorshift64*), so that a failure is the same one every time.
struct Dice(u64);

impl Dice {
    fn below(&mut self, sides: usize) -> usize {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        let sides = u64::try_from(sides).expect("a usize fits");
        let drawn = (self.0.wrapping_mul(0x2545_F491_4F6C_DD1D) >> 33) % sides;
        usize::try_from(drawn).expect("it is less than a usize")
    }
}

/// Replaces up to eight characters at a random place by a random piece, one to four times.
fn mutate(text: &str, dice: &mut Dice) -> String {
    let mut characters: Vec<char> = text.chars().collect();
    for _ in 0..=dice.below(4) {
        let start = dice.below(characters.len());
        let end = (start + dice.below(9)).min(characters.len());
        characters.splice(start..end, PIECES[dice.below(PIECES.len())].chars());
    }
    characters.into_iter().collect()
}

#[test]
fn mutations_of_a_valid_file_are_read_or_refused() {
    let mut dice = Dice(0x1B);
    for _ in 0..4_000 {
        check(&mutate(VALID, &mut dice));
    }
}

#[test]
fn every_prefix_of_a_valid_file_is_read_or_refused() {
    for (end, _) in VALID.char_indices() {
        check(&VALID[..end]);
    }
}

/// Lists of backends as files have them: what the fuzz target begins with.
const BACKENDS: [&str; 2] = [
    include_str!("../../fuzz/seeds/configuration/backends-json"),
    include_str!("../../fuzz/seeds/configuration/backends-toml"),
];

#[test]
fn mutations_of_lists_of_backends_are_read_or_refused() {
    let mut dice = Dice(0x1C);
    for list in BACKENDS {
        check_backends(list);
        for _ in 0..2_000 {
            check_backends(&mutate(list, &mut dice));
        }
    }
}

#[test]
fn deep_nesting_is_refused() {
    check(&format!("a = {}", "[".repeat(10_000)));
    check(&format!("a = {}", "{ a = ".repeat(10_000)));
    check(&"a.".repeat(10_000));
    check_backends(&"[".repeat(10_000));
    check_backends(&"{\"a\":".repeat(10_000));
}
