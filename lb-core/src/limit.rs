//! What may be in flight, and who waits when it is full.
//!
//! Every count is given back by dropping what it was taken for, whichever way an exchange ends. Who
//! finds no place may wait in a bounded queue; the core says who is next (the more urgent, then who
//! came first), and the driver wakes whoever that is when something ends.

use alloc::boxed::Box;
use alloc::sync::Arc;

use crate::adaptive::Adaptive;
use crate::caps::Caps;
use crate::client_key::ClientKeys;
use crate::config::{AdaptiveConfig, LimitConfig};
use crate::facts::Facts;
use crate::word::atomic::{AtomicU32, AtomicU64, Ordering};
use crate::word::{Shared, Word};

/// The limits of one service.
#[derive(Debug)]
pub(crate) struct Limits {
    config: LimitConfig,
    clients: Option<(ClientKeys, Arc<Clients>)>,
    /// What may be in flight, by the configuration in force.
    caps: Arc<Shared<Caps>>,
    /// Exchanges in flight, and such that wait.
    running: Arc<AtomicU32>,
    waiting: Arc<AtomicU32>,
    tickets: Arc<AtomicU64>,
    adaptive: Arc<Shared<Adaptive>>,
}

/// A place among what is counted. Dropping it gives it back.
#[derive(Debug)]
pub(crate) struct Place(Arc<AtomicU32>);

/// Where in line an exchange stands: less is sooner.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Rank(u64);

/// How urgent a request is (RFC 9218 §4.1): 0 is the most, 7 the least.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Urgency(u8);

const TICKET_BITS: u32 = 60;

impl Place {
    /// Takes a place of so many, if there is one.
    pub(crate) fn take(count: &Arc<AtomicU32>, most: u32) -> Option<Self> {
        let before = count.fetch_add(1, Ordering::AcqRel);
        let place = Self(Arc::clone(count));
        (before < most).then_some(place)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::AcqRel);
    }
}

impl Urgency {
    const DEFAULT: Self = Self(3);

    /// What a request says, or the default.
    fn of(facts: &dyn Facts) -> Self {
        let mut urgency = Self::DEFAULT;
        // A dictionary, in which the last word counts, whatever its parameters (RFC 8941 §3.2, RFC 9110 §5.3).
        facts.each_line("priority", &mut |line| {
            for member in line.split(|byte| *byte == b',').map(<[u8]>::trim_ascii) {
                let mut parts = member.split(|byte| *byte == b';').map(<[u8]>::trim_ascii_end);
                if let Some(said) = parts.next().and_then(|part| part.strip_prefix(b"u=")) {
                    urgency = match said {
                        [digit @ b'0'..=b'7'] => Self(digit - b'0'),
                        _ => Self::DEFAULT,
                    };
                }
            }
        });
        urgency
    }

    /// How much of a queue of `length` may be full when one more of these comes.
    const fn share(self, length: u32) -> u32 {
        if self.0 > Self::DEFAULT.0 { length / 2 } else { length }
    }
}

impl Limits {
    /// The limits that `config` asks for; what is in flight is counted on from `before`. Whoever still
    /// goes by those from before is judged by what may be in flight now.
    pub(crate) fn new(config: &LimitConfig, seed: u64, before: Option<&Self>) -> Self {
        let known = before.and_then(|limits| limits.clients.as_ref());
        let clients = config.per_client.map(|_| {
            let table = known.map_or_else(Arc::default, |(_, table)| Arc::clone(table));
            (ClientKeys::new(&config.client, seed), table)
        });
        let caps = match before {
            Some(limits) => Arc::clone(&limits.caps),
            None => Arc::new(Shared::new(Caps::default())),
        };
        caps.step(|_| Some(Caps::new(config)));
        Self {
            config: config.clone(),
            clients,
            caps,
            running: before.map_or_else(Arc::default, |it| Arc::clone(&it.running)),
            waiting: before.map_or_else(Arc::default, |it| Arc::clone(&it.waiting)),
            tickets: before.map_or_else(Arc::default, |it| Arc::clone(&it.tickets)),
            adaptive: match before {
                Some(limits) => Arc::clone(&limits.adaptive),
                None => Arc::new(Shared::new(Adaptive::default())),
            },
        }
    }

    /// A place among what the client of a request has in flight; `None`: it has too much.
    pub(crate) fn admit(&self, facts: &dyn Facts) -> Option<Option<ClientPlace>> {
        let Some((keys, table)) = &self.clients else { return Some(None) };
        let most = self.config.per_client.unwrap_or(u32::MAX);
        table.take(keys.of(facts).unwrap_or_default(), most)
    }

    /// A place among what is in flight; `None`: it is full. Without a limit nothing is counted.
    pub(crate) fn enter(&self) -> Option<Option<Place>> {
        match self.most() {
            None => Some(None),
            Some(most) => Place::take(&self.running, most).map(Some),
        }
    }

    /// Exchanges that may be in flight, if that is limited.
    pub(crate) fn most(&self) -> Option<u32> {
        let (least, most) = self.caps.get().at_service()?;
        Some(self.adaptive.get().within(least, most))
    }

    /// Exchanges in flight, where they are counted.
    pub(crate) fn running(&self) -> u32 {
        self.running.load(Ordering::Relaxed)
    }

    /// Exchanges that wait for a place.
    pub(crate) fn waiting(&self) -> u32 {
        self.waiting.load(Ordering::Acquire)
    }

    /// Whether whoever comes stands behind others: nobody passes those who wait. Where nothing is limited
    /// any more, or nobody may wait, there is no line to stand in.
    pub(crate) fn has_line(&self) -> bool {
        self.waiting() > 0 && self.config.queue_max > 0 && self.caps.get().is_any()
    }

    /// What may be in flight, by the configuration in force.
    pub(crate) const fn caps(&self) -> &Arc<Shared<Caps>> {
        &self.caps
    }

    /// A place in the queue and its rank; `None`: it is full.
    pub(crate) fn queue(&self, facts: &dyn Facts) -> Option<(Place, Rank)> {
        let urgency = if self.config.urgency { Urgency::of(facts) } else { Urgency::DEFAULT };
        let place = Place::take(&self.waiting, urgency.share(self.config.queue_max))?;
        let ticket = self.tickets.fetch_add(1, Ordering::Relaxed);
        let ticket = ticket & ((1 << TICKET_BITS) - 1);
        Some((place, Rank((u64::from(urgency.0) << TICKET_BITS) | ticket)))
    }

    pub(crate) const fn config(&self) -> &LimitConfig {
        &self.config
    }

    /// What an attempt showed about how much may be in flight; `None` took no time that says anything.
    pub(crate) fn learn(&self, took: Option<core::time::Duration>) {
        let Some(config): Option<&AdaptiveConfig> = self.config.adaptive.as_ref() else { return };
        let running = self.running();
        self.adaptive.step(|adaptive| Some(adaptive.after(took, running, config)));
    }
}

/// What each client has in flight, in a bounded table.
///
/// A cell is a client's as long as it has something in flight. Where all cells of its set are others',
/// a client is not counted: a crowd makes the table no larger, and the error favours a client.
#[derive(Debug)]
pub(crate) struct Clients(Box<[Shared<Cell>]>);

/// Clients with something in flight that are counted, at most: half a MiB.
#[cfg(not(loom))]
const CELLS: usize = 1 << 16;
/// loom follows each one of them.
#[cfg(loom)]
const CELLS: usize = 8;
const WAYS: usize = 4;

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Cell {
    tag: u32,
    count: u32,
}

/// A place among what a client has in flight. Dropping it gives it back.
#[derive(Debug)]
pub(crate) struct ClientPlace {
    table: Arc<Clients>,
    cell: usize,
}

impl Default for Clients {
    fn default() -> Self {
        Self((0..CELLS).map(|_| Shared::new(Cell::default())).collect())
    }
}

impl Clients {
    /// A place of so many; `None`: the client has none left. `Some(None)`: it is not counted.
    fn take(self: &Arc<Self>, key: u64, most: u32) -> Option<Option<ClientPlace>> {
        let tag = u32::try_from(key >> 32).expect("32 bits");
        let sets = (CELLS / WAYS) as u64;
        let set = usize::try_from(key % sets).expect("an index") * WAYS;
        let held = |cell: usize| ClientPlace { table: Arc::clone(self), cell };
        // Its own cell, if it has one; else one that is nobody's.
        for mine in [true, false] {
            for cell in set..set + WAYS {
                let counted = |seen: Cell| match (seen.count, seen.tag == tag) {
                    (0, _) if !mine => Some(Cell { tag, count: 1 }),
                    (1.., true) if seen.count < most => {
                        Some(Cell { count: seen.count + 1, ..seen })
                    }
                    _ => None,
                };
                if self.0[cell].step(counted).is_some() {
                    return Some(Some(held(cell)));
                }
                let seen = self.0[cell].get();
                if seen.tag == tag && seen.count >= most {
                    return None;
                }
            }
        }
        Some(None)
    }
}

impl Drop for ClientPlace {
    fn drop(&mut self) {
        self.table.0[self.cell].step(|cell| Some(Cell { count: cell.count - 1, ..cell }));
    }
}

impl Word for Cell {
    fn pack(self) -> u64 {
        (u64::from(self.tag) << 32) | u64::from(self.count)
    }

    fn unpack(bits: u64) -> Self {
        let count = u32::try_from(bits & u64::from(u32::MAX)).expect("32 bits");
        Self { tag: u32::try_from(bits >> 32).expect("32 bits"), count }
    }
}

#[cfg(test)]
mod tests {
    use alloc::vec::Vec;
    use core::net::IpAddr;

    use super::*;
    use crate::hash::stable_hash;

    struct Said(&'static str);

    impl Facts for Said {
        fn client(&self) -> Option<IpAddr> {
            None
        }
        fn header(&self, name: &str) -> Option<&[u8]> {
            (name == "priority").then_some(self.0.as_bytes())
        }
        fn path(&self) -> &'static str {
            "/"
        }
        fn query(&self) -> Option<&str> {
            None
        }
    }

    #[test]
    fn urgency_is_what_rfc_9218_says() {
        let of = |said| Urgency::of(&Said(said)).0;
        assert_eq!(["u=0", "u=7, i", "i,u=5", "u=1 , u=6"].map(of), [0, 7, 5, 6]);
        assert_eq!(["u=0;x=1", "u=1 ;a, i;b=u=7"].map(of), [0, 1], "parameters");
        assert_eq!(["", "u=8", "u=-1", "u", "u=", "u=11", "x=1"].map(of), [3; 7]);
    }

    #[test]
    fn the_more_urgent_and_then_the_first_is_next_and_background_fills_half() {
        let config = LimitConfig { queue_max: 4, urgency: true, ..LimitConfig::default() };
        let limits = Limits::new(&config, 7, None);
        let said = ["u=5", "u=5", "u=5", "", "u=1", ""];
        let places: Vec<_> = said.iter().map(|said| limits.queue(&Said(said))).collect();
        let taken: Vec<bool> = places.iter().map(Option::is_some).collect();
        assert_eq!(taken, [true, true, false, true, true, false], "half of four, then all");
        let mut order: Vec<_> =
            places.iter().zip(said).filter_map(|(it, said)| Some((it.as_ref()?.1, said))).collect();
        order.sort_unstable();
        let order: Vec<_> = order.into_iter().map(|(_, said)| said).collect();
        assert_eq!(order, ["u=1", "", "u=5", "u=5"]);
        drop(places);
        assert_eq!(limits.waiting(), 0);
    }

    #[test]
    fn a_client_has_so_many_and_gives_each_back() {
        let table = Arc::new(Clients::default());
        let key = |nth: u64| stable_hash(&nth.to_be_bytes());
        let held: Vec<_> = (0..3).map(|_| table.take(key(1), 3).unwrap().unwrap()).collect();
        assert!(table.take(key(1), 3).is_none(), "no fourth");
        assert!(table.take(key(2), 3).unwrap().is_some(), "of another client");
        drop(held);
        assert!(table.take(key(1), 1).unwrap().is_some());
        assert!(table.0.iter().all(|cell| cell.get().count == 0));
    }

    /// A million clients at once: the table is as large as before, and none is refused wrongly.
    #[test]
    fn a_crowd_makes_no_table_larger_and_refuses_nobody() {
        let table = Arc::new(Clients::default());
        let key = |nth: u64| stable_hash(&nth.to_be_bytes());
        let held: Vec<_> = (0..1_000_000).map(|nth| table.take(key(nth), 1)).collect();
        let refused = held.iter().filter(|place| place.is_none()).count();
        assert!(refused < 100, "{refused} whose tags agree with another's");
        let counted = held.iter().filter(|place| matches!(place, Some(Some(_)))).count();
        assert!((60_000..=CELLS).contains(&counted), "{counted}");
        assert_eq!(size_of_val(&*table.0), 512 * 1024);
        drop(held);
        assert!(table.0.iter().all(|cell| cell.get().count == 0));
    }
}
