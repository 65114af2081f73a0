//! State that threads share: a `Copy` value in one 64-bit word, changed by pure steps.
//!
//! A breaker with five fields behind a lock makes every request wait for every other; five atomics
//! let a reader see half of a change. A value that packs into one word has neither fault: it is
//! read whole, and a step (a function from the old value to the new) either happens or did not.
//! In a one-thread simulator the same code sees plain integers.
//!
//! ```
//! use lb_core::{Shared, Word};
//!
//! #[derive(Clone, Copy, Debug, PartialEq)]
//! struct Strikes(u64);
//!
//! impl Word for Strikes {
//!     fn pack(self) -> u64 { self.0 }
//!     fn unpack(bits: u64) -> Self { Self(bits) }
//! }
//!
//! let strikes = Shared::new(Strikes(0));
//! let add = |Strikes(n)| (n < 3).then_some(Strikes(n + 1));
//! assert_eq!(strikes.step(add), Some((Strikes(0), Strikes(1))));
//! strikes.step(add);
//! strikes.step(add);
//! assert_eq!(strikes.step(add), None, "declined: nothing was written");
//! assert_eq!(strikes.get(), Strikes(3));
//! ```

use core::marker::PhantomData;

/// The atomics of this crate: the real ones, or loom's, which try every interleaving.
#[cfg(not(loom))]
pub(crate) mod atomic {
    pub(crate) use core::sync::atomic::{AtomicU16, AtomicU32, AtomicU64, Ordering};
}
#[cfg(loom)]
pub(crate) mod atomic {
    pub(crate) use loom::sync::atomic::{AtomicU16, AtomicU32, AtomicU64, Ordering};
}
use atomic::{AtomicU64, Ordering};

/// A value that packs into 64 bits: `unpack(pack(w)) == w` for every `w`.
pub trait Word: Copy {
    /// The value as bits.
    fn pack(self) -> u64;
    /// The value that packed into `bits`.
    fn unpack(bits: u64) -> Self;
}

/// A word that threads share.
#[derive(Debug)]
pub struct Shared<W> {
    bits: AtomicU64,
    word: PhantomData<fn() -> W>,
}

impl<W: Word> Shared<W> {
    /// A shared word that starts as `word`.
    pub fn new(word: W) -> Self {
        Self { bits: AtomicU64::new(word.pack()), word: PhantomData }
    }

    /// The value now. Whatever was written before it was stored can be seen.
    pub fn get(&self) -> W {
        W::unpack(self.bits.load(Ordering::Acquire))
    }

    /// Makes one pure step and returns what was left and what was entered. `None` from `next`
    /// declines: nothing is written, and a reader pays for a load alone.
    ///
    /// `next` runs again when another thread stepped between, so it must depend on its argument
    /// alone. Some thread always gets through: the loop is lock-free.
    pub fn step(&self, next: impl Fn(W) -> Option<W>) -> Option<(W, W)> {
        let mut seen = self.bits.load(Ordering::Acquire);
        loop {
            let from = W::unpack(seen);
            let to = next(from)?;
            match self.bits.compare_exchange_weak(
                seen,
                to.pack(),
                Ordering::AcqRel,
                Ordering::Acquire,
            ) {
                Ok(_) => return Some((from, to)),
                Err(newer) => seen = newer,
            }
        }
    }
}
