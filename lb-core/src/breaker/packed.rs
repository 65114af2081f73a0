//! A breaker as one word of 64 bits.

use super::{
    BEGAN_BITS, Breaker, COUNT_BITS, ERA_BITS, FAILURE_BITS, Phase, REST_BITS, ROUND_BITS,
    UNTIL_BITS,
};
use crate::word::Word;

impl Word for Breaker {
    fn pack(self) -> u64 {
        let (tag, rest) = match self.phase {
            Phase::Closed { failures, calm_at_s } => {
                (0, (calm_at_s << FAILURE_BITS) | u64::from(failures))
            }
            Phase::Open { until_ms, answers } => (1, (u64::from(answers) << UNTIL_BITS) | until_ms),
            Phase::HalfOpen { trials, successes, round, began, answers } => {
                let counts = (u64::from(successes) << COUNT_BITS) | u64::from(trials);
                let when = (u64::from(began) << ROUND_BITS) | u64::from(round);
                (2, (u64::from(answers) << UNTIL_BITS) | (when << (2 * COUNT_BITS)) | counts)
            }
        };
        (tag << 62)
            | (u64::from(self.era) << (REST_BITS + 4))
            | (u64::from(self.level) << REST_BITS)
            | rest
    }

    fn unpack(bits: u64) -> Self {
        let field = |shift: u32, width: u32| (bits >> shift) & ((1 << width) - 1);
        let phase = match field(62, 2) {
            0 => Phase::Closed {
                failures: low16(field(0, FAILURE_BITS)),
                calm_at_s: field(FAILURE_BITS, REST_BITS - FAILURE_BITS),
            },
            1 => Phase::Open { until_ms: field(0, UNTIL_BITS), answers: field(UNTIL_BITS, 1) == 1 },
            _ => Phase::HalfOpen {
                trials: low8(field(0, COUNT_BITS)),
                successes: low8(field(COUNT_BITS, COUNT_BITS)),
                round: low8(field(2 * COUNT_BITS, ROUND_BITS)),
                began: low32(field(2 * COUNT_BITS + ROUND_BITS, BEGAN_BITS)),
                answers: field(UNTIL_BITS, 1) == 1,
            },
        };
        Self { era: low16(field(REST_BITS + 4, ERA_BITS)), level: low8(field(REST_BITS, 4)), phase }
    }
}

fn low32(bits: u64) -> u32 {
    u32::try_from(bits).expect("the field is at most 32 bits wide")
}

fn low16(bits: u64) -> u16 {
    u16::try_from(bits).expect("the field is at most 16 bits wide")
}

fn low8(bits: u64) -> u8 {
    u8::try_from(bits).expect("the field is at most 8 bits wide")
}
