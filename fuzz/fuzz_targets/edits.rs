//! Edits that a configuration asks for, and requests that they are made to.

#![no_main]

#[path = "../../tests/edits/holds.rs"]
mod holds;

libfuzzer_sys::fuzz_target!(|case: &str| {
    holds::check(case);
});
