//! Headers of the PROXY protocol, good and bad.

#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    lb_server::fuzzing::proxy_header(bytes);
});
