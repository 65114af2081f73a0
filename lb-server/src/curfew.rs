//! How those who came in by a door are told to leave.
//!
//! It is what `shutdown` is to a process, within one thread: a connection asks at each of its turns whether its
//! time has come, and to hear that it has not costs a look at two words. It is entered in a list once, when it
//! waits for the first time, and stays there until it goes.

use std::cell::{Cell, RefCell};
use std::future::poll_fn;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};

use crate::shutdown::Phase;

/// Moves those who hear of it towards their end. Dropping it changes nothing.
pub(crate) struct Curfew(Rc<Hour>);

/// Hears how far it is.
pub(crate) struct Hearer {
    hour: Rc<Hour>,
    /// Its place in the list, once it has waited.
    place: Option<usize>,
}

/// How far it is, and who waits to hear of it.
struct Hour {
    phase: Cell<Phase>,
    list: RefCell<List>,
}

#[derive(Default)]
struct List {
    /// With the number of those who came before.
    places: Vec<Option<(u64, Waker)>>,
    free: Vec<usize>,
    entered: u64,
}

impl Curfew {
    pub(crate) fn new() -> Self {
        Self(Rc::new(Hour { phase: Cell::new(Phase::Running), list: RefCell::default() }))
    }

    /// Who hears it from now on.
    pub(crate) fn hearer(&self) -> Hearer {
        Hearer { hour: Rc::clone(&self.0), place: None }
    }

    /// Finish what runs, take nothing new.
    pub(crate) fn drain(&self) {
        self.advance(Phase::Draining);
    }

    /// Stop at once.
    pub(crate) fn stop(&self) {
        self.advance(Phase::Stopping);
    }

    /// Wakes all who wait, in the order in which they began to.
    fn advance(&self, to: Phase) {
        if self.0.phase.get() >= to {
            return;
        }
        self.0.phase.set(to);
        let list = self.0.list.borrow();
        let mut waiting: Vec<_> = list.places.iter().flatten().cloned().collect();
        drop(list);
        waiting.sort_unstable_by_key(|(number, _)| *number);
        waiting.into_iter().for_each(|(_, waker)| waker.wake());
    }
}

impl Hearer {
    /// Waits until it is as late as `phase`. Waits for ever if nobody moves it on.
    pub(crate) async fn reached(&mut self, phase: Phase) {
        poll_fn(|cx| self.poll_reached(phase, cx)).await;
    }

    fn poll_reached(&mut self, phase: Phase, cx: &Context<'_>) -> Poll<()> {
        if self.hour.phase.get() >= phase {
            return Poll::Ready(());
        }
        let waker = cx.waker();
        // Nobody but itself knows what a waker does when it goes: the list is free by then.
        let _before = match self.place {
            Some(place) => self.hour.list.borrow_mut().change(place, waker),
            None => {
                self.place = Some(self.hour.list.borrow_mut().enter(waker.clone()));
                None
            }
        };
        Poll::Pending
    }
}

impl Clone for Hearer {
    fn clone(&self) -> Self {
        Self { hour: Rc::clone(&self.hour), place: None }
    }
}

impl Drop for Hearer {
    fn drop(&mut self) {
        let _before = self.place.and_then(|place| self.hour.list.borrow_mut().leave(place));
    }
}

impl List {
    fn enter(&mut self, waker: Waker) -> usize {
        self.entered += 1;
        let entry = Some((self.entered, waker));
        match self.free.pop() {
            Some(place) => {
                self.places[place] = entry;
                place
            }
            None => {
                self.places.push(entry);
                self.places.len() - 1
            }
        }
    }

    /// Has another waker called, if it is another.
    fn change(&mut self, place: usize, waker: &Waker) -> Option<Waker> {
        let (_, known) = self.places[place].as_mut().expect("it is its hearer's until that goes");
        let is_known = known.will_wake(waker);
        (!is_known).then(|| std::mem::replace(known, waker.clone()))
    }

    fn leave(&mut self, place: usize) -> Option<Waker> {
        self.free.push(place);
        self.places[place].take().map(|(_, waker)| waker)
    }
}

#[cfg(test)]
mod tests {
    use tokio::task::{LocalSet, spawn_local, yield_now};

    use super::*;

    fn within_one_thread(doing: impl Future<Output = ()>) {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        LocalSet::new().block_on(&runtime, doing);
    }

    #[test]
    fn who_waits_first_is_woken_first_and_each_when_his_phase_has_come() {
        within_one_thread(async {
            let woken = Rc::new(RefCell::new(Vec::new()));
            let curfew = Curfew::new();
            let wait = |number: usize, phase| {
                let (mut hearer, woken) = (curfew.hearer(), Rc::clone(&woken));
                spawn_local(async move {
                    hearer.reached(phase).await;
                    woken.borrow_mut().push(number);
                })
            };
            // Their places are those of others who have gone, the last of whom was the first.
            let gone: Vec<_> = (0..9).map(|_| wait(0, Phase::Stopping)).collect();
            yield_now().await;
            gone.iter().for_each(|task| task.abort());
            yield_now().await;
            let last = wait(0, Phase::Stopping);
            let waiting = (1..20).map(|number| wait(number, Phase::Draining)).collect::<Vec<_>>();
            yield_now().await;
            assert!(woken.borrow().is_empty());
            curfew.drain();
            for task in waiting {
                task.await.unwrap();
            }
            assert_eq!(woken.take(), (1..20).collect::<Vec<_>>());
            curfew.stop();
            curfew.drain();
            last.await.unwrap();
            assert_eq!(woken.take(), [0]);
        });
    }

    #[test]
    fn who_has_heard_of_one_phase_hears_of_the_next_in_whatever_task() {
        within_one_thread(async {
            let curfew = Curfew::new();
            let mut hearer = curfew.hearer();
            let first = spawn_local(async move {
                hearer.reached(Phase::Draining).await;
                hearer
            });
            yield_now().await;
            curfew.drain();
            let mut hearer = first.await.unwrap();
            let second = spawn_local(async move { hearer.reached(Phase::Stopping).await });
            yield_now().await;
            assert!(!second.is_finished());
            curfew.stop();
            second.await.unwrap();
            let late = curfew.hearer();
            late.clone().reached(Phase::Stopping).await;
        });
    }

    #[test]
    fn who_goes_leaves_his_place_to_the_next() {
        let curfew = Curfew::new();
        let cx = &Context::from_waker(Waker::noop());
        for _ in 0..3 {
            let (mut one, mut other) = (curfew.hearer(), curfew.hearer());
            for hearer in [&mut one, &mut other] {
                assert!(hearer.poll_reached(Phase::Draining, cx).is_pending());
                assert!(hearer.poll_reached(Phase::Draining, cx).is_pending());
            }
        }
        let list = curfew.0.list.borrow();
        assert_eq!((list.places.len(), list.places.iter().flatten().count()), (2, 0));
    }
}
