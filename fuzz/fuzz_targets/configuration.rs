//! Configurations, and lists of backends in both formats.

#![no_main]

#[path = "../../lb-config/tests/robustness/holds.rs"]
mod holds;

libfuzzer_sys::fuzz_target!(|text: &str| {
    holds::check(text);
    holds::check_backends(text);
});
