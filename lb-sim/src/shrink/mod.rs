//! From a scenario that fails to the least of it that still does: what is left is what matters.
//!
//! Whatever can be left out is left out, and whatever can be halved is halved, as long as the *same*
//! [failure](Failure) is there under the same seed: faults, actions and surges first, then backends, pools,
//! and sections of the configuration, then times and rates. Lists are cut by halves, quarters and so on, as
//! delta debugging does (Zeller and Hildebrandt, 2002), and all of it is done over until nothing changes.
//!
//! That something good does not happen *in time* would be easy to have by leaving no time. So when that is
//! the failure, a world that [has time](has_time) and [can carry its load](is_ample) is only ever changed into
//! another one that does.

mod values;

use std::collections::BTreeSet;

use lb_core::stable_hash;
use toml::{Table, Value};

use crate::document::{self, Path, Step, at, paths, table_mut, tables, tables_mut, written};
use crate::failure::Failure;
use crate::sanity::{has_time, is_ample};
use crate::scenario::{self, Metric, Scenario};
use crate::verdict::Verdict;

/// What is asked of each candidate.
pub struct Question<'q> {
    /// What the scenario's file is called.
    pub name: &'q str,
    /// Under which seed it fails.
    pub seed: u64,
    /// What has to fail.
    pub failure: &'q Failure,
    /// Runs a scenario; `None` if the engine knows nothing of something in it.
    pub run: &'q dyn Fn(&Scenario, u64) -> Option<Verdict>,
    /// Whether it is time to be content with what there is.
    pub is_over: &'q dyn Fn() -> bool,
}

/// What is left.
#[derive(Debug)]
pub struct Shrunk {
    /// A whole scenario, with its claim.
    pub text: String,
    /// Candidates that were run.
    pub runs: u32,
    /// Whether nothing more could be left out; `false` if time was up before that was known.
    pub is_least: bool,
}

/// Shrinks the scenario that `text` is.
///
/// # Errors
/// If it is none, or does not fail as it is said to.
pub fn shrink(text: &str, question: &Question<'_>) -> Result<Shrunk, String> {
    let mut root = document::parsed(text)?;
    root.insert("seed".into(), Value::Integer(question.seed.cast_signed()));
    let scenario = read(text, question.name)?;
    let verdict = (question.run)(&scenario, question.seed);
    let verdict = verdict.ok_or("the engine knows nothing of something in the scenario")?;
    if !question.failure.is_in(&verdict) {
        let Question { failure, seed, .. } = question;
        return Err(format!("{failure} does not fail under seed {seed}"));
    }
    let guard = match question.failure.is_liveness(&verdict) {
        false => Guard::None,
        true if has_time(&scenario) && is_ample(&scenario) => Guard::Sane,
        true => Guard::Patient(scenario.recover_within),
    };
    let mut shrinker = Shrinker {
        root,
        question,
        guard,
        claim: claim(question.failure),
        keeps_named: has_all_named(&scenario),
        known: BTreeSet::new(),
        runs: 0,
    };
    while shrinker.round() && !(question.is_over)() {}
    let text = shrinker.text(&shrinker.root);
    Ok(Shrunk { text, runs: shrinker.runs, is_least: !(question.is_over)() })
}

/// Whether every origin whose share is expected is a backend.
fn has_all_named(scenario: &Scenario) -> bool {
    let expect = &scenario.expect;
    let all = expect.always.iter().chain(&expect.eventually).chain(&expect.at_end);
    let mut named = all.filter_map(|it| match &it.metric {
        Metric::Share(origin) => Some(origin),
        _ => None,
    });
    let roster = &scenario.roster;
    let backends: BTreeSet<String> = (0..roster.services())
        .flat_map(|service| roster.addresses(service))
        .map(|(host, port)| format!("{host}:{port}"))
        .collect();
    named.all(|origin| backends.contains(origin))
}

/// What the first line of the result says: what must hold, and does not.
fn claim(failure: &Failure) -> String {
    match failure {
        Failure::Panic(_) => "Nothing panics.".to_owned(),
        Failure::Invariant(name) => {
            let mut letters = name.chars();
            let first = letters.next().into_iter().flat_map(char::to_uppercase);
            format!("{}{}.", first.collect::<String>(), letters.as_str())
        }
        // What the whole scenario was about may be left out by now.
        Failure::Expectation(text) => format!("What is expected holds: {text}."),
    }
}

/// What every candidate must keep.
enum Guard {
    None,
    /// Time to recover and capacity for the load.
    Sane,
    /// At least so long to recover: whether that is enough is for whoever wrote it to say.
    Patient(std::time::Duration),
}

struct Shrinker<'q> {
    root: Table,
    question: &'q Question<'q>,
    guard: Guard,
    claim: String,
    /// Whether backends that expectations name must stay: without them a share is nothing, whatever happens.
    keeps_named: bool,
    /// Candidates that were asked already, by hash.
    known: BTreeSet<u64>,
    runs: u32,
}

/// Lists of what happens, which are cut first: the rest is easier to cut without them.
const TIMELINE: [&[&str]; 4] = [&["fault"], &["action"], &["attack"], &["workload", "surge"]];

impl Shrinker<'_> {
    /// Tries everything once. Whether anything could be left out.
    fn round(&mut self) -> bool {
        let mut changed = self.expectations();
        for path in TIMELINE {
            let path: Path = path.iter().map(|key| Step::Key((*key).to_owned())).collect();
            changed |= self.cut_list(&path);
        }
        changed |= self.cut_origins();
        changed |= self.cut_keys();
        let lists = paths(&self.root).into_iter();
        for path in
            lists.filter(|it| at(&self.root, it).is_some_and(Value::is_array)).collect::<Vec<_>>()
        {
            changed |= self.cut_list(&path);
        }
        changed |= self.hasten();
        for path in paths(&self.root) {
            changed |= self.simplify(&path);
        }
        changed
    }

    fn text(&self, root: &Table) -> String {
        written(&[&self.claim], root)
    }

    /// Goes on with `candidate` if the same fails in it.
    fn accept(&mut self, candidate: Table) -> bool {
        if candidate == self.root || (self.question.is_over)() {
            return false;
        }
        let text = self.text(&candidate);
        if !self.known.insert(stable_hash(text.as_bytes())) {
            return false;
        }
        let Ok(scenario) = read(&text, self.question.name) else { return false };
        let is_guarded = match self.guard {
            Guard::None => true,
            Guard::Sane => has_time(&scenario) && is_ample(&scenario),
            Guard::Patient(least) => scenario.recover_within >= least,
        };
        if !is_guarded || (self.keeps_named && !has_all_named(&scenario)) {
            return false;
        }
        self.runs += 1;
        let verdict = (self.question.run)(&scenario, self.question.seed);
        let fails = verdict.is_some_and(|verdict| self.question.failure.is_in(&verdict));
        if fails {
            self.root = candidate;
        }
        fails
    }

    /// Leaves out as many of `count` things as possible. `with` makes a document of the one that there is and
    /// of those that are kept.
    fn cut(
        &mut self,
        count: usize,
        with: impl Fn(&Table, &BTreeSet<usize>) -> Option<Table>,
    ) -> bool {
        let (all, mut kept) = (self.root.clone(), (0..count).collect::<Vec<usize>>());
        let mut size = count;
        while size > 0 {
            let mut begin = 0;
            while begin < kept.len() {
                let end = (begin + size).min(kept.len());
                let rest: BTreeSet<usize> =
                    kept[..begin].iter().chain(&kept[end..]).copied().collect();
                match with(&all, &rest).is_some_and(|candidate| self.accept(candidate)) {
                    true => kept = rest.into_iter().collect(),
                    false => begin = end,
                }
            }
            size /= 2;
        }
        kept.len() < count
    }

    fn cut_list(&mut self, path: &[Step]) -> bool {
        let count = at(&self.root, path).and_then(Value::as_array).map_or(0, Vec::len);
        self.cut(count, |all, kept| {
            let mut root = all.clone();
            let list = document::at_mut(&mut root, path)?.as_array_mut()?;
            retain(list, |nth, _| kept.contains(&nth));
            if list.is_empty() {
                let (Step::Key(last), above) = path.split_last()? else { return None };
                table_mut(&mut root, above)?.remove(last);
            }
            Some(root)
        })
    }

    /// Leaves out keys and whole sections, from the outermost on.
    fn cut_keys(&mut self) -> bool {
        let is_table = |path: &Path| at(&self.root, path).is_some_and(Value::is_table);
        let mut all = vec![Path::new()];
        all.extend(paths(&self.root).into_iter().filter(is_table));
        let mut changed = false;
        for path in all {
            let Some(table) = table_mut(&mut self.root, &path) else { continue };
            let keys: Vec<String> = table
                .keys()
                .filter(|key| !["seed", "schema"].contains(&&***key))
                .cloned()
                .collect();
            changed |= self.cut(keys.len(), |all, kept| {
                let mut root = all.clone();
                let table = table_mut(&mut root, &path)?;
                for (nth, key) in keys.iter().enumerate() {
                    if !kept.contains(&nth) {
                        table.remove(key);
                    }
                }
                Some(root)
            });
        }
        changed
    }

    /// Leaves out origins, and with each its backends, its faults, and the pools that have nobody else.
    fn cut_origins(&mut self) -> bool {
        let names: Vec<String> = tables(&self.root, "origin")
            .filter_map(|it| Some(it.get("at")?.as_str()?.to_owned()))
            .collect();
        self.cut(names.len(), |all, kept| {
            let is_kept = |name: &str| {
                names.iter().position(|it| it == name).is_none_or(|nth| kept.contains(&nth))
            };
            let mut root = all.clone();
            only(&mut root, "origin", |it| text_of(it, "at").is_none_or(&is_kept));
            only(&mut root, "fault", |it| text_of(it, "origin").is_none_or(&is_kept));
            thin_out(root.get_mut("config")?.as_table_mut()?, &is_kept);
            for action in tables_mut(&mut root, "action") {
                if let Some(config) = action.get_mut("config").and_then(Value::as_table_mut) {
                    thin_out(config, &is_kept);
                }
            }
            Some(root)
        })
    }

    /// All expectations but the one that has to fail are beside the point.
    fn expectations(&mut self) -> bool {
        let mut root = self.root.clone();
        let Failure::Expectation(text) = self.question.failure else {
            return root.remove("expect").is_some() && self.accept(root);
        };
        let (word, text) = text.split_once(' ').unwrap_or_default();
        let Some(expect) = root.get_mut("expect").and_then(Value::as_table_mut) else {
            return false;
        };
        expect.retain(|key, _| key == word || (word == "at_end" && key == "latency"));
        if let Some(list) = expect.get_mut(word).and_then(Value::as_array_mut) {
            list.retain(|it| it.as_str() == Some(text));
        }
        self.accept(root)
    }
}

/// Takes the backends out of a configuration that are not kept, and what is empty without them.
fn thin_out(config: &mut Table, is_kept: &impl Fn(&str) -> bool) {
    for service in tables_mut(config, "service") {
        for pool in tables_mut(service, "pool") {
            only(pool, "backends", |it| {
                let url = text_of(it, "url").unwrap_or_default();
                let host = url.strip_prefix("http://").unwrap_or(url);
                is_kept(host) && (host.contains(':') || is_kept(&format!("{host}:80")))
            });
        }
        only(service, "pool", |it| tables(it, "backends").next().is_some());
    }
    only(config, "service", |it| tables(it, "pool").next().is_some());
}

fn text_of<'t>(table: &'t Table, key: &str) -> Option<&'t str> {
    table.get(key)?.as_str()
}

/// Keeps those tables of a list that pass.
fn only(table: &mut Table, key: &str, keep: impl Fn(&Table) -> bool) {
    if let Some(list) = table.get_mut(key).and_then(Value::as_array_mut) {
        list.retain(|it| it.as_table().is_none_or(&keep));
    }
}

fn retain(list: &mut Vec<Value>, keep: impl Fn(usize, &Value) -> bool) {
    let mut nth = 0;
    list.retain(|value| {
        nth += 1;
        keep(nth - 1, value)
    });
}

fn read(text: &str, name: &str) -> Result<Scenario, String> {
    let (scenario, said) = scenario::load(&lb_config::Source { name, text });
    scenario.ok_or_else(|| said.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n"))
}
