//! Who left a service and may be back.
//!
//! A list may lack somebody for a single look: a name server tells a part of it, a file is written in two
//! steps. That is no reason to let it have twice what it may have, or to ask it again while its breaker is
//! open. So whoever leaves is remembered for a while, and for as long as it holds anything. Who comes back
//! is new in all that speaks for it, and known in all that it holds and that speaks against it.

use alloc::boxed::Box;
use alloc::collections::BTreeMap;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::cmp::Reverse;
use core::time::Duration;

use super::Service;
use crate::backend::Backend;
use crate::config::BACKENDS_MAX;
use crate::time::Time;

/// How long somebody is remembered who left a service and holds nothing.
pub const GONE_FOR: Duration = Duration::from_secs(600);
/// Of how many one service knows. Of more those go first who hold nothing, and who left first.
const GONE_MAX: usize = 1_024;

/// Somebody who left.
#[derive(Clone, Debug)]
pub(super) struct Gone {
    backend: Arc<Backend>,
    since: Time,
}

impl Gone {
    pub(super) fn name(&self) -> &str {
        self.backend.name()
    }

    fn is_known(&self, now: Time) -> bool {
        self.backend.in_flight() > 0 || now - self.since < GONE_FOR
    }

    /// Whether it was away for at least so long.
    pub(super) fn was_away(&self, now: Time, span: Duration) -> bool {
        now - self.since >= span
    }

    pub(super) const fn backend(&self) -> &Arc<Backend> {
        &self.backend
    }
}

/// Whom a service knows, by name: those who are in it, and those who left.
#[derive(Default)]
pub(super) struct Known<'s> {
    here: BTreeMap<&'s str, &'s Arc<Backend>>,
    gone: BTreeMap<&'s str, &'s Gone>,
}

impl Service {
    /// Those who are in it no longer and may be back, as of `now`.
    fn remembered(&self, now: Time) -> impl Iterator<Item = &Gone> {
        self.gone.iter().filter(move |gone| gone.is_known(now))
    }

    /// What they are called: what they hold still counts.
    pub fn gone(&self, now: Time) -> impl Iterator<Item = &str> {
        self.remembered(now).map(Gone::name)
    }
}

impl<'s> Known<'s> {
    pub(super) fn of(service: &'s Service, now: Time) -> Self {
        Self {
            here: service.backends().map(|it| (it.name(), it.backend)).collect(),
            gone: service.remembered(now).map(|it| (it.name(), it)).collect(),
        }
    }

    /// Who is in the service.
    pub(super) fn here(&self, name: &str) -> Option<&'s Arc<Backend>> {
        self.here.get(name).copied()
    }

    /// Who left it.
    pub(super) fn gone(&self, name: &str) -> Option<&'s Gone> {
        self.gone.get(name).copied()
    }

    /// Those who do not `stay` and may be back: the others leave `now`.
    pub(super) fn without<'n>(self, stay: impl Iterator<Item = &'n str>, now: Time) -> Box<[Gone]> {
        let Self { mut here, mut gone } = self;
        for name in stay {
            here.remove(name);
            gone.remove(name);
        }
        let left = here.into_values().map(|backend| (Arc::clone(backend), now));
        let holds = |gone: &Gone| gone.backend.in_flight() > 0;
        let left = left.map(|(backend, since)| Gone { backend, since });
        let mut all: Vec<_> = left.chain(gone.into_values().cloned()).collect();
        all.sort_by_cached_key(|it| Reverse((holds(it), it.since)));
        all.truncate(GONE_MAX);
        all.into()
    }

    fn numbers(&self) -> impl Iterator<Item = u16> {
        let gone = self.gone.values().map(|gone| gone.backend.number);
        self.here.values().map(|backend| backend.number).chain(gone)
    }
}

/// Gives out numbers that nobody has whom the service knows. There are so many that one is given out
/// again after tens of thousands of others at the earliest.
pub(super) struct Numbers {
    taken: Box<[bool]>,
    next: u16,
}

const NUMBERS: usize = 1 << u16::BITS;
// Half of them are free for newcomers, whoever else is known.
const _: () = assert!(2 * BACKENDS_MAX + GONE_MAX < NUMBERS);

impl Numbers {
    /// Those that are left beside the `known`, who got theirs from here as well.
    pub(super) fn beside(known: &Known<'_>, next: u16) -> Self {
        let mut taken = alloc::vec![false; NUMBERS];
        known.numbers().for_each(|number| taken[usize::from(number)] = true);
        Self { taken: taken.into(), next }
    }

    pub(super) fn take(&mut self) -> u16 {
        while self.taken[usize::from(self.next)] {
            self.next = self.next.wrapping_add(1);
        }
        let number = self.next;
        self.next = number.wrapping_add(1);
        number
    }

    /// Where the next ones begin.
    pub(super) const fn next(&self) -> u16 {
        self.next
    }
}
