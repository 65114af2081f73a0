//! One hash for everything that leaves the process.

/// XXH3-64 of `bytes`: the same on every platform, in every version, in every process.
///
/// For what must agree between instances and survive restarts (names, keys, traces), where the
/// standard library's hasher promises nothing. It is not a defence against chosen inputs.
///
/// ```
/// assert_eq!(lb_core::stable_hash(b""), 0x2d06800538d394c2);
/// ```
pub fn stable_hash(bytes: &[u8]) -> u64 {
    xxhash_rust::xxh3::xxh3_64(bytes)
}

/// The same with a `seed`, for what does not leave the process.
pub(crate) fn seeded_hash(bytes: &[u8], seed: u64) -> u64 {
    xxhash_rust::xxh3::xxh3_64_with_seed(bytes, seed)
}
