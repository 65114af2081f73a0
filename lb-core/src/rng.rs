//! Dice that replay: a stream of numbers that depends on its seed and its name alone.

/// A stream of random numbers, one per exchange.
///
/// Balancing needs numbers that spread well and cost nothing, not secrets, so this is a counter
/// put through a 64-bit mixer (SplitMix64: Steele, Lea, Flood, "Fast splittable pseudorandom
/// number generators", OOPSLA 2014). Two streams share nothing, so one exchange's dice can be
/// thrown again without the others', and a draw added to one shifts none of another.
///
/// ```
/// use lb_core::Rng;
///
/// let mut first = Rng::stream(7, 42);
/// let mut again = Rng::stream(7, 42);
/// assert_eq!(first.next_u64(), again.next_u64());
/// assert!(first.below(6) < 6);
/// ```
#[derive(Clone, Debug)]
pub struct Rng {
    state: u64,
}

/// 2⁶⁴ divided by the golden ratio: steps that visit every state once.
const STEP: u64 = 0x9e37_79b9_7f4a_7c15;

impl Rng {
    /// The stream named `id` under `seed`.
    pub fn stream(seed: u64, id: u64) -> Self {
        // Mixed twice, so that neighbouring ids do not give streams that are shifts of each other.
        Self { state: mix(mix(seed.wrapping_add(STEP)) ^ id.wrapping_mul(STEP)) }
    }

    /// Any of 2⁶⁴ numbers.
    pub fn next_u64(&mut self) -> u64 {
        self.state = self.state.wrapping_add(STEP);
        mix(self.state)
    }

    /// A number in `0..bound`, each as likely up to a bias of 2⁻³², which no count of requests
    /// would show.
    ///
    /// # Panics
    /// If `bound` is 0: there is no such number.
    pub fn below(&mut self, bound: u32) -> u32 {
        assert!(bound > 0, "a die has at least one side");
        let high = self.next_u64() >> 32;
        let scaled = (high * u64::from(bound)) >> 32;
        u32::try_from(scaled).expect("a 32-bit number times a fraction has 32 bits")
    }

    /// A number in `0..=bound`, for spans of time. As [`Rng::below`], with 64 bits.
    pub(crate) fn up_to(&mut self, bound: u64) -> u64 {
        let scaled = (u128::from(self.next_u64()) * (u128::from(bound) + 1)) >> 64;
        u64::try_from(scaled).expect("a 64-bit number times a fraction has 64 bits")
    }
}

/// The finaliser of SplitMix64: every input bit flips every output bit with probability a half.
const fn mix(mut bits: u64) -> u64 {
    bits = (bits ^ (bits >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    bits = (bits ^ (bits >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    bits ^ (bits >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_mixer_is_splitmix64() {
        // The reference sequence of SplitMix64 for state 1234567.
        let mut rng = Rng { state: 1_234_567 };
        let drawn: [u64; 3] = core::array::from_fn(|_| rng.next_u64());
        assert_eq!(
            drawn,
            [6_457_827_717_110_365_317, 3_203_168_211_198_807_973, 9_817_491_932_198_370_423]
        );
    }

    #[test]
    fn neighbouring_streams_share_no_number() {
        let mut seen: alloc::vec::Vec<u64> = (0..64)
            .flat_map(|id| {
                let mut rng = Rng::stream(0, id);
                core::array::from_fn::<u64, 64, _>(move |_| rng.next_u64())
            })
            .collect();
        seen.sort_unstable();
        seen.dedup();
        assert_eq!(seen.len(), 64 * 64);
    }

    #[test]
    fn a_fair_die_is_fair() {
        let mut counts = [0_i32; 6];
        let mut rng = Rng::stream(1, 1);
        for _ in 0..60_000 {
            counts[rng.below(6) as usize] += 1;
        }
        // 10,000 expected with a standard deviation of 91; 4 of them.
        assert!(counts.iter().all(|count| (count - 10_000).abs() < 365), "{counts:?}");
    }
}
