//! The properties that are fuzzed, for bytes that chance makes of good ones.

use proptest::prelude::*;
use proptest::sample::Index;
use proptest::test_runner::RngSeed;

use super::*;

/// What the fuzz targets begin with.
const HEADS: [&[u8]; 8] = [
    include_bytes!("../../../fuzz/seeds/request_head/get"),
    include_bytes!("../../../fuzz/seeds/request_head/post"),
    include_bytes!("../../../fuzz/seeds/request_head/chunked"),
    include_bytes!("../../../fuzz/seeds/request_head/absolute"),
    include_bytes!("../../../fuzz/seeds/request_head/old"),
    include_bytes!("../../../fuzz/seeds/request_head/upgrade"),
    include_bytes!("../../../fuzz/seeds/request_head/connect"),
    include_bytes!("../../../fuzz/seeds/request_head/two"),
];
const PROXIES: [&[u8]; 6] = [
    include_bytes!("../../../fuzz/seeds/proxy_protocol/tcp4"),
    include_bytes!("../../../fuzz/seeds/proxy_protocol/tcp6"),
    include_bytes!("../../../fuzz/seeds/proxy_protocol/unknown"),
    include_bytes!("../../../fuzz/seeds/proxy_protocol/v2-tcp4-crc32c"),
    include_bytes!("../../../fuzz/seeds/proxy_protocol/v2-tcp6"),
    include_bytes!("../../../fuzz/seeds/proxy_protocol/v2-local"),
];

const ANSWERS: [&[u8]; 5] = [
    include_bytes!("../../../fuzz/seeds/answer/length"),
    include_bytes!("../../../fuzz/seeds/answer/chunked"),
    include_bytes!("../../../fuzz/seeds/answer/informed"),
    include_bytes!("../../../fuzz/seeds/answer/old"),
    include_bytes!("../../../fuzz/seeds/answer/bare"),
];

#[test]
fn what_the_fuzz_targets_begin_with_is_good() {
    for seed in HEADS {
        assert!(request_head(seed), "{}", seed.escape_ascii());
    }
    assert_eq!(connection(HEADS[7]), (2, None));
    for seed in PROXIES {
        assert!(proxy_header(seed), "{}", seed.escape_ascii());
    }
    for seed in ANSWERS {
        assert!(answer(seed), "{}", seed.escape_ascii());
    }
    assert!(!request_head(b"GET / HTTP/1.1\r\nhost : a\r\n\r\n"));
    assert!(!proxy_header(b"PROXY TCP4"));
}

/// One of `seeds` with some of its bytes changed, taken out, or put in.
fn damaged(seeds: &'static [&'static [u8]]) -> impl Strategy<Value = Vec<u8>> {
    let byte = prop_oneof![any::<u8>(), prop::sample::select(&b"\r\n :,\t\0=%/?#0159"[..])];
    let changes = prop::collection::vec((any::<Index>(), byte, 0..4), 0..4);
    (prop::sample::select(seeds), changes).prop_map(|(seed, changes)| {
        let mut bytes = seed.to_vec();
        for (index, byte, how) in changes {
            let at = index.index(bytes.len() + 1);
            match how {
                0 if at < bytes.len() => bytes[at] = byte,
                1 if at < bytes.len() => drop(bytes.remove(at)),
                2 => bytes.extend_from_slice(&seed[at.min(seed.len())..]),
                _ => bytes.insert(at, byte),
            }
        }
        bytes
    })
}

proptest! {
    #![proptest_config(ProptestConfig {
        failure_persistence: None,
        rng_seed: RngSeed::Fixed(7),
        cases: 2_000,
        ..ProptestConfig::default()
    })]

    #[test]
    fn a_head_that_passes_is_for_hyper_what_it_is_for_us(bytes in damaged(&HEADS)) {
        request_head(&bytes);
    }

    #[test]
    fn hyper_has_no_complaint_about_what_passes(bytes in damaged(&HEADS)) {
        connection(&bytes);
    }

    #[test]
    fn what_we_take_for_an_answer_is_one_for_hyper(bytes in damaged(&ANSWERS)) {
        answer(&bytes);
    }

    #[test]
    fn a_proxy_header_is_one_or_not_however_it_is_cut(bytes in damaged(&PROXIES)) {
        proxy_header(&bytes);
    }
}
