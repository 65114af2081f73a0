//! Heads of requests, and whole connections of them: what passes the guard is what hyper reads.

#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    lb_server::fuzzing::request_head(bytes);
    lb_server::fuzzing::connection(bytes);
});
