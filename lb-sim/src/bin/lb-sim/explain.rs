//! One request of a trace, in words.
//!
//! A trace says by its first line which run it is of. That run is made again, which takes no longer than
//! reading it, and this time every choice says what it was made from; what else happens has to be what the
//! trace says, line by line, or the scenario or this program is another one by now.

use std::fmt;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::{Args, ValueEnum};
use lb_sim::log::{Entry, What};
use lb_sim::story::{self, Which};
use lb_sim::{Engine, Scenario, trace};

use crate::{print, read, text_of};

/// Which request of which trace.
#[derive(Debug, Args)]
pub(crate) struct Explain {
    /// What `lb-sim run --trace FILE` wrote
    trace: PathBuf,
    /// Its number in the trace: 1475, or that of its exchange: exchange=1476
    #[arg(value_parser = which)]
    request: Which,
}

pub(crate) fn which(text: &str) -> Result<Which, String> {
    Which::parse(text).ok_or_else(|| "write a number, as in 1475, or exchange=1476".to_owned())
}

/// The first line of a trace: which run it is of.
pub(crate) struct Head {
    pub(crate) file: String,
    pub(crate) seed: u64,
    pub(crate) engine: Engine,
}

/// What the line begins with.
const MARK: &str = "# lb-sim run ";

impl fmt::Display for Head {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { file, seed, engine } = self;
        write!(out, "{MARK}--seed {seed} --engine {} {file}", engine.as_str())
    }
}

impl Head {
    fn parse(line: &str) -> Option<Self> {
        let mut words = line.strip_prefix(MARK)?.splitn(5, ' ');
        let mut after = |name| (words.next()? == name).then(|| words.next())?;
        let seed = after("--seed")?.parse().ok()?;
        let engine = Engine::from_str(after("--engine")?, false).ok()?;
        Some(Self { file: words.next()?.to_owned(), seed, engine })
    }
}

pub(crate) fn explain(args: &Explain) -> Result<ExitCode, String> {
    let name = args.trace.display();
    let text = text_of(&args.trace)?;
    let (first, rest) = text.split_once('\n').unwrap_or((&text, ""));
    let remedy = "give it what lb-sim run --trace FILE wrote";
    let head = Head::parse(first)
        .ok_or_else(|| format!("{name}:1: does not say which run it is of; {remedy}"))?;
    let scenario = read(Path::new(&head.file)).map_err(|complaint| {
        format!(
            "{name}:1: is of a scenario that cannot be had from here; run this where {} can be \
             read:\n{complaint}",
            head.file
        )
    })?;
    if head.engine == Engine::Real {
        let file = head.file;
        return Err(format!(
            "a run on real sockets does not repeat: lb-sim run {file} --engine real --explain REQUEST"
        ));
    }
    head.engine.admits(&scenario)?;
    let run = head.engine.run_explained(&scenario, head.seed);
    let bare: Vec<Entry> = run.log.iter().filter(|it| !is_extra(it)).cloned().collect();
    let now = trace::text(&bare);
    if now.len() > rest.len() && now.starts_with(rest) {
        return Err(format!(
            "{name}: the trace is cut short after {} lines; write it again: {} --trace {name}",
            rest.lines().count() + 1,
            head.engine.again(&head.file, head.seed),
        ));
    }
    if let Some((line, was, is)) = trace::first_difference(rest, &now) {
        return Err(format!(
            "{name}:{}: is of another scenario or another lb-sim:\n  then: {was}\n  now:  {is}\n\
             write it again: {} --trace {name}",
            line + 1,
            head.engine.again(&head.file, head.seed),
        ));
    }
    print(&told(&scenario, &run.log, args.request)?)?;
    Ok(ExitCode::SUCCESS)
}

/// What a run says only when it is asked to explain itself.
fn is_extra(entry: &Entry) -> bool {
    matches!(entry.what, What::Explained { .. })
}

pub(crate) fn told(scenario: &Scenario, log: &[Entry], which: Which) -> Result<String, String> {
    let none = || "there is no such request in this run; --trace FILE lists them".to_owned();
    story::told(scenario, log, which).ok_or_else(none)
}
