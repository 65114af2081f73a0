//! What backends answer: what we take for an answer is what hyper reads.

#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    lb_server::fuzzing::answer(bytes);
});
