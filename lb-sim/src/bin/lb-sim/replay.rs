//! Recorded traffic once more: a table of what was recorded and what comes of it, and an exit code.

use std::fmt::Write;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use clap::{Args, ValueEnum};
use lb_config::Config;
use lb_sim::log::TOO_MANY;
use lb_sim::parallel;
use lb_sim::record::{self, Record};
use lb_sim::replay::{self, Counts, Setting, Tally};
use lb_sim::scenario::{Expectation, Latency, Metric};

use crate::check::{exit, read};
use crate::cli::{latency, level};
use crate::diff::interval;
use crate::{Watch, print, say};

const EXAMPLES: &str = "\
Examples:
  lb-sim replay record.lb --config next.toml
  lb-sim replay record.lb --config next.toml --against lb.toml --slo 'p99 <= 250ms'
  lb-sim replay access.log.1 access.log --config lb.toml --service api --speed 2
  lb-sim replay haproxy.log --config lb.toml --same srv1=http://10.0.0.1:8080 --same srv2=http://10.0.0.2:8080

What is recorded is told in docs/record.md, and so is how true a replay is. Exit code 131: a service level
was missed (with --against: under the new configuration).";

/// What is replayed, and under what.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Replay {
    /// Records of lb-server, or logs; several are one, as of several machines
    #[arg(required = true)]
    records: Vec<PathBuf>,
    /// The configuration that is tried
    #[arg(long, value_name = "FILE")]
    config: PathBuf,
    /// Another one that it is compared with, request by request
    #[arg(long, value_name = "FILE")]
    against: Option<PathBuf>,
    /// The service of the configuration; by default all that the record has as well
    #[arg(long)]
    service: Option<String>,
    /// The format of the records; by default what their first lines look like
    #[arg(long, value_enum)]
    format: Option<Format>,
    /// A backend's name in the record, and its url in the configuration; repeatable
    #[arg(long, value_name = "NAME=URL", value_parser = same)]
    same: Vec<(String, String)>,
    /// How many times as fast as it was recorded, 0.01 to 100
    #[arg(long, default_value_t = 1.0, value_parser = speed)]
    speed: f64,
    /// How long a backend takes where the record says nothing of any: the median of a lognormal
    /// distribution
    #[arg(long, default_value = "20ms", value_parser = latency)]
    latency: Duration,
    /// Seeds that it is run under
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u64).range(1..=1_000))]
    seeds: u64,
    /// What must hold over the whole of it, as in scenarios; repeatable
    #[arg(long, value_name = "EXPECTATION", value_parser = level)]
    slo: Vec<Expectation>,
}

/// How a record is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Format {
    /// A record of lb-server
    Record,
    /// The JSON access log of lb-server
    AccessLog,
    /// The combined log of nginx or Apache, perhaps with what nginx knows of upstreams
    Combined,
    /// The HTTP log of HAProxy
    Haproxy,
}

impl From<Format> for record::Format {
    fn from(format: Format) -> Self {
        match format {
            Format::Record => Self::Record,
            Format::AccessLog => Self::Access,
            Format::Combined => Self::Combined,
            Format::Haproxy => Self::Haproxy,
        }
    }
}

/// How far servers' latencies spread where nothing is known.
const SIGMA: f64 = 0.6;

fn same(text: &str) -> Result<(String, String), String> {
    let parts = text.split_once('=').filter(|(name, url)| !name.is_empty() && !url.is_empty());
    let (name, url) = parts.ok_or_else(|| "write it as srv1=http://10.0.0.1:8080".to_owned())?;
    Ok((name.to_owned(), url.to_owned()))
}

fn speed(text: &str) -> Result<f64, String> {
    let speed = text.parse::<f64>().ok().filter(|speed| (0.01..=100.0).contains(speed));
    speed.ok_or_else(|| "write a number from 0.01 to 100".to_owned())
}

pub(crate) fn replay(asked: &Replay) -> Result<ExitCode, String> {
    if let Some(level) = asked.slo.iter().find(|level| level.phase.is_some()) {
        return Err(format!("{:?}: a replay has no phases; leave out what follows @", level.text));
    }
    let config = read(&asked.config)?;
    let old = asked.against.as_deref().map(read).transpose()?;
    let watch = Watch::start();
    let record = record::read(&asked.records, asked.format.map(Into::into))?;
    let read_in = watch.took();
    for mistake in &record.mistakes {
        say(&mistake.to_string());
    }
    record.notes.iter().for_each(|note| say(note));
    replay::known(&record, &config, &asked.same)?;
    let replay::Matched { pairs, notes } =
        replay::services(&record, &config, asked.service.as_deref())?;
    notes.iter().for_each(|note| say(note));
    let mut missed = false;
    for (theirs, ours) in pairs {
        let name = &config.services[ours].core.name;
        let before = match &old {
            None => None,
            Some(old) => {
                let at = old.services.iter().position(|it| it.core.name == *name);
                let file = asked.against.as_deref().unwrap_or(&asked.config).display();
                Some((old, at.ok_or_else(|| format!("{file} has no service {name}"))?))
            }
        };
        missed |= one(asked, &record, theirs, (&config, ours), before)?;
    }
    let (read_in, took) = (read_in.as_secs_f64(), watch.took().as_secs_f64());
    let count = record.exchanges.len();
    say(&format!("  {count} exchanges read in {read_in:.2} s, all of it done in {took:.2} s"));
    Ok(exit(false, missed))
}

/// One service; whether a level was missed.
fn one(
    asked: &Replay,
    record: &Record,
    theirs: u16,
    (config, ours): (&Config, usize),
    before: Option<(&Config, usize)>,
) -> Result<bool, String> {
    let latency = Latency::Lognormal { median: asked.latency, sigma: SIGMA };
    let setting = Setting { speed: asked.speed, latency, same: asked.same.clone() };
    let new = replay::Replay::new(record, (theirs, ours), config, &asked.config, &setting);
    let old = before.map(|(old, at)| {
        let file = asked.against.as_deref().unwrap_or(&asked.config);
        replay::Replay::new(record, (theirs, at), old, file, &setting)
    });
    let recorded = new.recorded();
    let after = all_seeds(&new, asked.seeds)?;
    let before = old.as_ref().map(|old| all_seeds(old, asked.seeds)).transpose()?;
    let mut out = head(asked, &new, &recorded);
    if new.span() < SHORT {
        out += "  so short a record says little of shares, of tails, and of what takes its time to show\n";
    }
    for note in old.iter().flat_map(|old| &old.stage.notes).chain(&new.stage.notes) {
        let _infallible = writeln!(out, "  {note}");
    }
    out += &match &before {
        None => table(&new, &recorded.whole(), &whole(&after)),
        Some(before) => differences(&new, &recorded.whole(), before, &after),
    };
    let is_of_limit = |level: &Expectation| level.metric == Metric::Answered(TOO_MANY);
    if whole(&after).limited > 0 && !asked.slo.is_empty() && !asked.slo.iter().any(is_of_limit) {
        out += "  no level says how many may be turned away, which is no error; add --slo 'answered(429) < 1%'\n";
    }
    let missed = levels(asked, &new, &whole(&after), &mut out)?;
    print(&(out + "\n"))?;
    Ok(missed)
}

/// Under each seed, on all cores.
fn all_seeds(replay: &replay::Replay<'_>, seeds: u64) -> Result<Vec<Tally>, String> {
    let count = usize::try_from(seeds).expect("at most a thousand");
    let mut all = (0..count).map(|_| None).collect::<Vec<_>>();
    let run = |at: usize| replay.run(at as u64 + 1);
    parallel::each(count, None, run, |at, tally| all[at] = Some(tally));
    all.into_iter().map(|tally| tally.expect("each is run")).collect()
}

fn whole(all: &[Tally]) -> Counts {
    let (first, others) = all.split_first().expect("at least one seed is run");
    let mut sum = first.clone();
    others.iter().for_each(|tally| sum.add(tally));
    sum.whole()
}

/// Shorter than most intervals that a configuration has.
const SHORT: Duration = Duration::from_secs(10);

fn head(asked: &Replay, replay: &replay::Replay<'_>, recorded: &Tally) -> String {
    let span = replay.span().as_secs_f64() / asked.speed;
    let count = recorded.whole();
    let all = count.requests + count.left;
    let rate = all as f64 / span.max(1e-3);
    let digits = if span < 10.0 { 3 } else { 0 };
    let against = asked.against.iter().map(|old| format!("{} before, ", old.display()));
    let after = if asked.against.is_some() { " after" } else { "" };
    let plural = if asked.seeds == 1 { "" } else { "s" };
    format!(
        "service {}: {all} requests in {span:.digits$} s ({rate:.1}/s); {}{}{after}; \
         {} seed{plural}\n\n",
        replay.stage.name(),
        against.collect::<String>(),
        asked.config.display(),
        asked.seeds,
    )
}

/// A line of the table.
struct Number {
    name: &'static str,
    of: fn(&Counts) -> Option<f64>,
    times: f64,
    digits: usize,
    unit: &'static str,
}

const NUMBERS: [Number; 7] = [
    Number { name: "errors", of: Counts::error_ratio, times: 100.0, digits: 3, unit: " %" },
    Number {
        name: "429 of a limit",
        of: Counts::limited_ratio,
        times: 100.0,
        digits: 3,
        unit: " %",
    },
    Number {
        name: "clients that left",
        of: Counts::left_ratio,
        times: 100.0,
        digits: 3,
        unit: " %",
    },
    Number { name: "p50", of: |it| it.latency_ms(0.5), times: 1.0, digits: 2, unit: " ms" },
    Number { name: "p99", of: |it| it.latency_ms(0.99), times: 1.0, digits: 1, unit: " ms" },
    Number { name: "p99.9", of: |it| it.latency_ms(0.999), times: 1.0, digits: 1, unit: " ms" },
    Number {
        name: "attempts per request",
        of: Counts::amplification,
        times: 1.0,
        digits: 4,
        unit: "",
    },
];

impl Number {
    fn told(&self, counts: &Counts) -> String {
        let Self { of, times, digits, unit, .. } = self;
        of(counts).map_or_else(|| "-".to_owned(), |it| format!("{:.digits$}{unit}", it * times))
    }
}

/// The origins of the service, by name and place, and those in no configuration.
fn origins(replay: &replay::Replay<'_>) -> Vec<(String, Option<usize>)> {
    let scenario = &replay.stage.scenario;
    let named = |at: &usize| (scenario.origins[*at].address(), Some(*at));
    let mut all: Vec<_> = replay.stage.origins.iter().map(named).collect();
    // A backend may sit in several pools.
    all.dedup();
    all.push(("others".to_owned(), None));
    all
}

fn percent(share: Option<f64>) -> String {
    share.map_or_else(|| "-".to_owned(), |share| format!("{:.2} %", share * 100.0))
}

fn table(replay: &replay::Replay<'_>, recorded: &Counts, rehearsed: &Counts) -> String {
    let mut out = String::new();
    let mut line = |name: &str, one: &str, other: &str| {
        let _infallible = writeln!(out, "  {name:<30} {one:>12}  {other:>12}");
    };
    line("", "recorded", "rehearsed");
    for number in NUMBERS {
        line(number.name, &number.told(recorded), &number.told(rehearsed));
    }
    for (name, place) in shares(replay, &[recorded, rehearsed]) {
        let share = |counts: &Counts| percent(counts.share(place));
        line(&format!("share of {name}"), &share(recorded), &share(rehearsed));
    }
    out
}

/// Whose shares are told: of those that anybody asked, the first so many.
fn shares(replay: &replay::Replay<'_>, all: &[&Counts]) -> Vec<(String, Option<usize>)> {
    const TOLD_MAX: usize = 20;
    let asked = |place| all.iter().any(|counts| counts.share(place).is_some_and(|it| it > 0.0));
    let asked = origins(replay).into_iter().filter(|(_, place)| asked(*place));
    asked.take(TOLD_MAX).collect()
}

fn differences(
    replay: &replay::Replay<'_>,
    recorded: &Counts,
    before: &[Tally],
    after: &[Tally],
) -> String {
    let mut out = String::new();
    let _infallible = writeln!(
        out,
        "  {:<30} {:>12}  {:>12}  {:>12}   difference (95 %)",
        "", "recorded", "before", "after"
    );
    let (old, new) = (whole(before), whole(after));
    for number in NUMBERS {
        let Number { name, of, times, digits, unit } = number;
        let pairs = before.iter().zip(after).flat_map(|(old, new)| {
            old.slices().iter().zip(new.slices()).filter_map(|(old, new)| Some(of(new)? - of(old)?))
        });
        let pairs: Vec<f64> = pairs.collect();
        let told = match interval(pairs.into_iter()) {
            Some((low, high)) if low > 0.0 || high < 0.0 => {
                format!("{:+.digits$} to {:+.digits$}{unit}", low * times, high * times)
            }
            Some(_) => "none beyond chance".to_owned(),
            None => String::new(),
        };
        let [recorded, old, new] = [recorded, &old, &new].map(|counts| number.told(counts));
        let _infallible =
            writeln!(out, "  {name:<30} {recorded:>12}  {old:>12}  {new:>12}   {told}");
    }
    for (name, place) in shares(replay, &[recorded, &old, &new]) {
        let share = |counts: &Counts| percent(counts.share(place));
        let [recorded, old, new] = [recorded, &old, &new].map(share);
        let name = format!("share of {name}");
        let _infallible = writeln!(out, "  {name:<30} {recorded:>12}  {old:>12}  {new:>12}");
    }
    out
}

/// Tells of the levels that are missed; whether any is.
fn levels(
    asked: &Replay,
    replay: &replay::Replay<'_>,
    counts: &Counts,
    out: &mut String,
) -> Result<bool, String> {
    let place = |name: &str| {
        let place = replay.stage.scenario.place(name);
        place.filter(|place| replay.stage.origins.contains(place))
    };
    let mut missed = false;
    for level in &asked.slo {
        let found =
            counts.of(&level.metric, place).map_err(|why| format!("{:?}: {why}", level.text))?;
        let unit = if level.is_latency() { " ms" } else { "" };
        let (text, service) = (&level.text, replay.stage.name());
        if replay.is_elsewhere {
            let why = "most of what was recorded went to backends that are not in the configuration; \
                       --same says which of its backends those are";
            let _infallible = writeln!(out, "  MISSED  {service}: {text}: {why}");
            missed = true;
            continue;
        }
        let _infallible = match found {
            Some(found) if level.holds(found) => Ok(()),
            Some(found) => writeln!(out, "  MISSED  {service}: {text}: it is {found:.4}{unit}"),
            None => writeln!(out, "  MISSED  {service}: {text}: there was nothing to measure"),
        };
        missed |= found.is_none_or(|found| !level.holds(found));
    }
    Ok(missed)
}
