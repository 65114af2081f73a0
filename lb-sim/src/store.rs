//! Seeds that failed, kept between sweeps: a line each, the ones that fail fastest.
//!
//! A sweep begins with them, so that what is broken is known at once and what was mended is known for sure. Of
//! those that fail alike the few are kept that need the fewest requests: they are the easiest to look at.
//!
//! ```
//! use lb_sim::store::{Kept, Store};
//!
//! let text = "model\t7\t120\tswarm\tinvariant \"leases return to zero\"\n";
//! let mut store = Store::parse("seeds.txt", text).expect("it is a store");
//! assert_eq!(store.kept()[0].seed, 7);
//!
//! let faster = Kept { seed: 9, requests: 40, ..store.kept()[0].clone() };
//! store.add(&faster);
//! assert_eq!(store.kept()[0].seed, 9, "the fastest comes first");
//!
//! store.remove("swarm", 7, "model");
//! assert_eq!(store.kept().len(), 1);
//! ```

/// A seed that failed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Kept {
    /// The engine that ran it.
    pub engine: String,
    /// The seed.
    pub seed: u64,
    /// How many requests were sent until it failed.
    pub requests: u64,
    /// The scenario's file, or what a swarm was drawn around.
    pub scenario: String,
    /// What failed.
    pub what: String,
}

/// All of them, the fastest first.
#[derive(Debug, Default)]
pub struct Store {
    kept: Vec<Kept>,
}

/// Seeds that are kept of those that fail alike.
const ALIKE_MAX: usize = 3;
/// Seeds of a store.
const KEPT_MAX: usize = 1_000;

const HEAD: &str = "# Seeds that fail: engine, seed, requests until then, scenario, what failed. Kept by lb-sim sweep.\n";
const REMEDY: &str = "write engine, seed, requests, scenario and what failed, with tabs between them, or remove the line";

impl Store {
    /// Reads the text of a store. Empty lines and comments mean nothing.
    ///
    /// # Errors
    /// All lines that are none, with their place.
    pub fn parse(name: &str, text: &str) -> Result<Self, String> {
        let (mut store, mut wrong) = (Self::default(), Vec::new());
        for (number, line) in (1..).zip(text.lines()) {
            if line.trim().is_empty() || line.starts_with('#') {
                continue;
            }
            match entry(line) {
                Ok(kept) => {
                    store.add(&kept);
                }
                Err((column, what)) => {
                    wrong.push(format!("{name}:{number}:{column}: {what}; {REMEDY}"))
                }
            }
        }
        if wrong.is_empty() { Ok(store) } else { Err(wrong.join("\n")) }
    }

    /// The text of the store.
    pub fn text(&self) -> String {
        let line = |it: &Kept| {
            let Kept { engine, seed, requests, scenario, what } = it;
            format!("{engine}\t{seed}\t{requests}\t{scenario}\t{what}\n")
        };
        format!("{HEAD}{}", self.kept.iter().map(line).collect::<String>())
    }

    /// All of them, the fastest first.
    pub fn kept(&self) -> &[Kept] {
        &self.kept
    }

    /// Keeps a seed, unless there are enough that fail alike and are faster. Whether it was kept.
    pub fn add(&mut self, new: &Kept) -> bool {
        self.remove(&new.scenario, new.seed, &new.engine);
        self.kept.push(new.clone());
        self.kept.sort_by(|one, other| {
            let by = |it: &Kept| (it.requests, it.seed);
            by(one).cmp(&by(other)).then_with(|| one.scenario.cmp(&other.scenario))
        });
        let is_alike = |it: &Kept| {
            (&it.scenario, &it.engine, &it.what) == (&new.scenario, &new.engine, &new.what)
        };
        let mut alike = 0;
        self.kept.retain(|it| {
            alike += usize::from(is_alike(it));
            !is_alike(it) || alike <= ALIKE_MAX
        });
        self.kept.truncate(KEPT_MAX);
        self.kept.contains(new)
    }

    /// Forgets a seed, if it is there: it fails no more.
    pub fn remove(&mut self, scenario: &str, seed: u64, engine: &str) -> Option<Kept> {
        let is = |it: &Kept| it.scenario == scenario && it.seed == seed && it.engine == engine;
        let place = self.kept.iter().position(is)?;
        Some(self.kept.remove(place))
    }
}

/// Reads a line; where and what is wrong with it, if it is none.
fn entry(line: &str) -> Result<Kept, (usize, &'static str)> {
    let fields: Vec<&str> = line.splitn(5, '\t').collect();
    let [engine, seed, requests, scenario, what] = fields[..] else {
        return Err((1, "this line does not have five fields"));
    };
    let number = |text: &str, before: &[&str], what| {
        let column = before.iter().map(|it| it.chars().count() + 1).sum::<usize>() + 1;
        text.parse::<u64>().map_err(|_| (column, what))
    };
    Ok(Kept {
        engine: engine.to_owned(),
        seed: number(seed, &[engine], "the seed is no number")?,
        requests: number(requests, &[engine, seed], "the count of requests is no number")?,
        scenario: scenario.to_owned(),
        what: what.to_owned(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kept(seed: u64, requests: u64) -> Kept {
        let text = |text: &str| text.to_owned();
        Kept {
            engine: text("model"),
            seed,
            requests,
            scenario: text("swarm"),
            what: text("panic \"a\""),
        }
    }

    #[test]
    fn of_those_that_fail_alike_the_three_fastest_are_kept() {
        let mut store = Store::default();
        for (seed, requests) in [(1, 50), (2, 40), (3, 60)] {
            assert!(store.add(&kept(seed, requests)));
        }
        assert!(!store.add(&kept(4, 70)), "there are three faster ones");
        assert!(store.add(&kept(5, 10)));
        assert!(store.add(&Kept { what: "another".to_owned(), ..kept(6, 900) }));
        assert_eq!(store.kept().iter().map(|it| it.seed).collect::<Vec<_>>(), [5, 2, 1, 6]);
    }

    #[test]
    fn what_is_written_is_read_as_the_same_and_what_is_none_is_told_with_its_place() {
        let mut store = Store::default();
        store.add(&kept(1, 50));
        let again = Store::parse("seeds.txt", &store.text()).expect("it was written by the same");
        assert_eq!(again.kept(), store.kept());
        let wrong = Store::parse("seeds.txt", "# seeds\nmodel\tx\t1\tswarm\ta\ngarbage\n");
        let said = wrong.expect_err("two of its lines are none");
        assert_eq!(said.lines().count(), 2, "{said}");
        assert!(said.starts_with("seeds.txt:2:7: the seed is no number; write engine"), "{said}");
        assert!(said.contains("seeds.txt:3:1: this line does not have five fields"), "{said}");
    }
}
