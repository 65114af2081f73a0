//! What was found, what became of the looks, and how it is put in force.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use lb_config::config::{Config, Found};
use lb_core::Time;
use tokio::sync::watch;
use tokio::time::timeout;

use super::ahead::Ahead;
use super::look::Looked;
use super::merge::merged;
use super::{FIRST_LOOK_MAX, Key, sources};
use crate::gateway::Gateway;
use crate::secured::Secured;
use crate::snapshot::{Snapshot, StartError};

/// Changes that a notice names; of more it says how many.
const NAMED_MAX: usize = 8;

/// All sources of a process.
pub(crate) struct Sources {
    known: Mutex<Book>,
    /// Told of each configuration that was said.
    said: watch::Sender<()>,
    /// Whether every source was looked at once.
    settled: watch::Sender<bool>,
}

/// What was said, and what was found.
pub(crate) struct Book {
    pub(crate) said: Config,
    pub(crate) known: BTreeMap<Key, Known>,
}

/// What is known of one source.
#[derive(Clone, Debug, Default)]
pub(crate) struct Known {
    /// The last good list, if there ever was one.
    pub(crate) found: Option<Vec<Found>>,
    /// Whose list that is.
    pub(crate) whose: Whose,
    /// When it was last seen to hold.
    pub(crate) seen: Option<Time>,
    /// Why the last look changed nothing, or not all that it should have.
    pub(crate) trouble: Option<String>,
    /// Whether an answer without a backend is believed.
    accepts_empty: bool,
    /// What became of the last look, if anybody looked: here, or in another process.
    last: Option<Became>,
    pub(crate) counts: [u64; Became::ALL.len()],
}

/// Who found a list.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Whose {
    /// The source itself.
    #[default]
    Own,
    /// The same source, asked by another process.
    Remembered,
    /// Not the source: its pool had these backends before it was asked, and keeps them until there is an
    /// answer. They are nobody else's business.
    Borrowed,
}

/// What became of a look.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Became {
    /// Another list is in force.
    Changed,
    /// The same list, or the same file.
    Same,
    /// No backend, which was not believed.
    Empty,
    /// No answer, or one that cannot be read.
    Failed,
    /// A list that cannot be served.
    Refused,
}

impl Became {
    pub(crate) const ALL: [Self; 5] =
        [Self::Changed, Self::Same, Self::Empty, Self::Failed, Self::Refused];

    /// As written in metrics.
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::Changed => "changed",
            Self::Same => "same",
            Self::Empty => "empty",
            Self::Failed => "failed",
            Self::Refused => "refused",
        }
    }
}

impl Known {
    /// The last good list, if it is the source's.
    pub(crate) fn own_list(&self) -> Option<&[Found]> {
        self.found.as_deref().filter(|_| self.whose != Whose::Borrowed)
    }
}

impl Sources {
    /// Nothing was found yet.
    pub(crate) fn new(said: Config) -> Self {
        let known = sources(&said).map(|(key, discovery)| {
            let accepts_empty = discovery.accepts_empty;
            (key, Known { accepts_empty, ..Known::default() })
        });
        let book = Book { known: known.collect(), said };
        let settled = book.known.is_empty();
        let (said, settled) = (watch::Sender::new(()), watch::Sender::new(settled));
        Self { known: Mutex::new(book), said, settled }
    }

    pub(crate) fn book(&self) -> MutexGuard<'_, Book> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Hears when another configuration is said.
    pub(super) fn said(&self) -> watch::Receiver<()> {
        self.said.subscribe()
    }

    /// Waits until every source was looked at once.
    async fn settled(&self) {
        let mut settled = self.settled.subscribe();
        settled.wait_for(|settled| *settled).await.expect("the sender is held here");
    }
}

impl Book {
    /// The configuration that is served.
    pub(crate) fn served(&self) -> Config {
        let found = |key: &Key| self.known.get(key).and_then(|known| known.found.as_deref());
        merged(&self.said, |key| found(key).unwrap_or_default())
    }

    /// What a source found last.
    pub(super) fn found(&self, key: &Key) -> Vec<Found> {
        self.known.get(key).and_then(|known| known.found.clone()).unwrap_or_default()
    }

    /// What is known of a source: what it found, or the same one did under another name; else a pool that
    /// asks another one keeps whom it has until there is an answer.
    pub(super) fn known_of(&self, key: &Key, served: &Config) -> Option<Known> {
        let has_list = |known: &&Known| known.found.is_some();
        let same = || {
            let mut others = self.known.iter().filter(|(other, _)| other.source == key.source);
            let known = others.find_map(|(_, known)| known.own_list().map(|_| known))?;
            let Known { found, whose, seen, .. } = known.clone();
            Some(Known { found, whose, seen, ..Known::default() })
        };
        let own = self.known.get(key).filter(has_list).cloned();
        own.or_else(same).or_else(|| {
            let found = Some(members(served, key)?);
            Some(Known { found, whose: Whose::Borrowed, ..Known::default() })
        })
    }

    /// The book in which `said` stands. Sources of which nothing is known have what was found `ahead`.
    fn next(&self, said: Config, served: &Config, ahead: &Ahead) -> Self {
        let known = sources(&said).map(|(key, discovery)| {
            let known = self.known_of(&key, served).unwrap_or_else(|| {
                let known = self.known.get(&key).cloned().unwrap_or_default();
                Known { found: ahead.of(&key).cloned(), ..known }
            });
            (key, Known { accepts_empty: discovery.accepts_empty, ..known })
        });
        Self { known: known.collect(), said }
    }
}

/// The backends of the pool that a source is for, as `served`; `None` if there is no such pool.
fn members(served: &Config, key: &Key) -> Option<Vec<Found>> {
    let service = served.services.iter().find(|service| service.core.name == key.service)?;
    let mut origins = service.origins.iter();
    for pool in &service.core.pools {
        let found = pool.backends.iter().zip(origins.by_ref());
        let found = found
            .map(|(backend, origin)| Found { backend: backend.clone(), origin: origin.clone() });
        let found: Vec<_> = found.collect();
        if pool.name == key.pool {
            return (!found.is_empty()).then_some(found);
        }
    }
    None
}

impl Gateway {
    /// Waits until every source of backends was looked at once, so that whoever is there can be served, or
    /// has had its time.
    pub async fn settled(&self) {
        let _late = timeout(FIRST_LOOK_MAX, self.sources.settled()).await;
    }

    /// Another configuration was said: puts it in force with what was found, and what was found
    /// `ahead`, if that can be served.
    pub(crate) fn say(
        &self,
        said: Config,
        ahead: &Ahead,
        secured: Arc<Secured>,
    ) -> Result<Vec<&'static str>, StartError> {
        if ahead.is_empty() {
            return self.say_with(said, ahead, secured);
        }
        let done = self.say_with(said.clone(), ahead, Arc::clone(&secured));
        done.or_else(|_| self.say_with(said, &Ahead::default(), secured))
    }

    fn say_with(
        &self,
        said: Config,
        ahead: &Ahead,
        secured: Arc<Secured>,
    ) -> Result<Vec<&'static str>, StartError> {
        let mut book = self.sources.book();
        let next = book.next(said, &self.snapshot().config, ahead);
        let late = self.publish(next.served(), secured)?;
        *book = next;
        drop(book);
        self.sources.said.send_replace(());
        Ok(late)
    }

    /// Puts another TLS in force in place of that `before`; `false` if that is gone already: then
    /// another configuration came, with files of its own.
    pub(crate) fn put(&self, secured: Arc<Secured>, before: &Snapshot) -> bool {
        let book = self.sources.book();
        let is_before = Arc::ptr_eq(&self.snapshot().secured, &before.secured);
        is_before && self.publish(book.served(), secured).is_ok()
    }

    /// Puts in force what was found. Files have nothing to do with it.
    fn publish_found(&self, book: &Book) -> Result<(), StartError> {
        let secured = Arc::clone(&self.snapshot().secured);
        self.publish(book.served(), secured).map(drop)
    }

    /// A source was looked at: puts in force what changed, counts it and tells of it. `None`: nobody
    /// asks it any more.
    pub(crate) fn looked(&self, key: &Key, looked: Result<Looked, String>) -> Option<Became> {
        let mut book = self.sources.book();
        // A reload may have forgotten it meanwhile.
        let known = book.known.get_mut(key)?;
        let trouble = known.trouble.take();
        let became = match looked {
            Err(why) => {
                known.trouble = Some(why);
                Became::Failed
            }
            Ok(Looked::Nothing) => {
                known.trouble.clone_from(&trouble);
                // What was bad is no better for being there still.
                known.last.filter(|last| *last != Became::Changed).unwrap_or(Became::Same)
            }
            Ok(Looked::List { found, warnings, trouble, .. }) => {
                warnings.iter().for_each(|warning| self.announce(|| warning.clone()));
                let became = self.take_over(&mut book, key, found);
                let known = book.known.get_mut(key).expect("it was there");
                known.trouble = known.trouble.take().or(trouble);
                became
            }
        };
        let known = book.known.get_mut(key).expect("it was there");
        known.counts[became as usize] += 1;
        known.last = Some(became);
        // Though something of it may be left out.
        if matches!(became, Became::Changed | Became::Same) {
            known.seen = Some(self.now());
        }
        match (&trouble, &known.trouble) {
            (before, Some(now)) if before.as_ref() != Some(now) => {
                let count = known.found.as_ref().map_or(0, Vec::len);
                self.announce(|| format!("{key}: {now}; {} in force", counted(count)));
            }
            (Some(_), None) if became == Became::Same => {
                self.announce(|| format!("{key}: answers again, and nothing has changed"));
            }
            _ => {}
        }
        if book.known.values().all(|known| known.last.is_some()) {
            self.sources.settled.send_if_modified(|settled| !std::mem::replace(settled, true));
        }
        Some(became)
    }

    /// Puts a list in force, if it is another one and can be served.
    fn take_over(&self, book: &mut Book, key: &Key, found: Vec<Found>) -> Became {
        let known = book.known.get_mut(key).expect("it was there");
        if found.is_empty() && !known.accepts_empty {
            let why = "the answer has no backend, and is not believed without empty = \"accept\"";
            known.trouble = Some(why.to_owned());
            return Became::Empty;
        }
        known.whose = Whose::Own;
        if known.found.as_ref() == Some(&found) {
            return Became::Same;
        }
        let before = known.found.replace(found);
        match self.publish_found(book) {
            Ok(()) => {
                let known = book.known.get_mut(key).expect("it was there");
                let now = known.found.as_deref().unwrap_or_default();
                self.announce(|| change(key, before.as_deref().unwrap_or_default(), now));
                Became::Changed
            }
            Err(error) => {
                let known = book.known.get_mut(key).expect("it was there");
                known.found = before;
                known.trouble = Some(format!("the list cannot be served: {error}"));
                Became::Refused
            }
        }
    }

    /// What another process found last, until there is a better answer. Called before anybody serves.
    pub(crate) fn remember_found(&self, remembered: BTreeMap<Key, Vec<Found>>) {
        let mut book = self.sources.book();
        let mut any = false;
        for (key, found) in remembered {
            if let Some(known) = book.known.get_mut(&key) {
                (known.found, known.whose) = (Some(found), Whose::Remembered);
                known.last = Some(Became::Same);
                any = true;
            }
        }
        if any && self.publish_found(&book).is_err() {
            book.known.values_mut().for_each(|known| {
                *known = Known { accepts_empty: known.accepts_empty, ..Known::default() }
            });
        }
        let settled = book.known.values().all(|known| known.last.is_some());
        self.sources.settled.send_replace(settled);
    }
}

fn counted(count: usize) -> String {
    match count {
        0 => "no backend is".to_owned(),
        1 => "the last backend stays".to_owned(),
        count => format!("the last {count} backends stay"),
    }
}

/// What changed from one list to the next.
fn change(key: &Key, before: &[Found], now: &[Found]) -> String {
    let names = |list: &[Found]| -> BTreeSet<String> {
        list.iter().map(|it| it.backend.name.clone()).collect()
    };
    let (old, new) = (names(before), names(now));
    let come = new.difference(&old).map(|name| format!("+{name}"));
    let changes: Vec<String> =
        come.chain(old.difference(&new).map(|name| format!("-{name}"))).collect();
    let more = match changes.len().saturating_sub(NAMED_MAX) {
        0 => String::new(),
        more => format!(" and {more} more"),
    };
    let named = changes[..changes.len().min(NAMED_MAX)].join(", ");
    let what = if changes.is_empty() { "other weights or regions" } else { &named };
    let backends = if now.len() == 1 { "backend" } else { "backends" };
    format!("{key}: {} {backends} ({what}{more})", now.len())
}
