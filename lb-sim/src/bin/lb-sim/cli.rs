//! The command line.

use std::ops::RangeInclusive;
use std::path::Path;
use std::time::Duration;

use lb_config::Config;
use lb_config::quantity;
use lb_config::read::Mistake;
use lb_sim::rehearsal::{RATE_MAX, Setting, Stage};
use lb_sim::scenario::{Expectation, Latency};

use crate::check::Check;
use crate::diff::Diff;
use crate::explain::Explain;
use crate::map::Map;
use crate::run::Run;

use clap::{Args, Parser, Subcommand};

use crate::{draw, shrink, sweep};

const EXAMPLES: &str = "\
Examples:
  lb-sim run scenarios/partition.toml                    under the scenario's own seed
  lb-sim run scenarios/partition.toml --seed 7 --trace a.txt
  lb-sim run scenarios/partition.toml --html report.html one file to look at, and to hand on
  lb-sim explain a.txt 1475                              why one request went where it went
  lb-sim sweep scenarios --seeds 1..200                  every scenario under 200 seeds
  lb-sim repeat scenarios                                every decision once more, by the core alone
  lb-sim compare scenarios/partition.toml                three engines side by side
  lb-sim sweep --swarm --minutes 5                       a world from each seed
  lb-sim check lb.toml --slo 'error_ratio < 0.1%'        what happens to your own configuration
  lb-sim diff lb.toml next.toml                          what a change would change
  lb-sim replay access.log --config next.toml            and what to the traffic that you had
  lb-sim map lb.toml                                     how much load it may have to survive trouble

Exit codes: 0 all is well; 1 something that was given cannot be used, 2 the command is not understood;
127 something panicked; 128 something good did not happen in time; 129 something bad happened; 130 a
fault was noticed by nobody, or a sweep never reached one of its marks; 131 a service level was missed.";

/// Rehearses the real proxy in a simulated world, and holds it to what it promises.
#[derive(Debug, Parser)]
#[command(name = "lb-sim", version, after_help = EXAMPLES)]
pub(crate) struct Cli {
    #[command(subcommand)]
    pub(crate) command: Command,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Run one scenario under one seed; print a timeline and a verdict
    #[command(after_help = "Example: lb-sim run scenarios/partition.toml --seed 7 --trace a.txt")]
    Run(Run),
    /// Tell in words what became of one request of a run that was written down, and why each of its
    /// attempts went where it went
    #[command(after_help = EXPLAIN)]
    Explain(Explain),
    /// Run scenarios, or worlds that are drawn, under many seeds; print and shrink those that fail
    #[command(after_help = sweep::EXAMPLES)]
    Sweep(sweep::Args),
    /// Leave out of a scenario that fails all that does not matter to it
    #[command(after_help = "Example: lb-sim shrink found.toml --seed 7 --engine model \
        --out scenarios/regressions/a-name.toml")]
    Shrink(shrink::Args),
    /// Print the world that a seed of a swarm draws
    #[command(after_help = DRAW)]
    Draw(draw::Args),
    Repeat(crate::repeat::Repeat),
    Compare(crate::compare::Compare),
    /// Put a configuration through what happens sooner or later: one backend dies, turns slow, flaps, a
    /// zone goes, a deploy, a retry storm; print a table and what to change
    #[command(after_help = CHECK)]
    Check(Check),
    Papers(crate::papers::Papers),
    /// Put two configurations through the same, with the same arrivals and the same luck; print what
    /// surely differs
    #[command(after_help = DIFF)]
    Diff(Diff),
    /// Replay recorded traffic under a configuration; print what was recorded and what comes of it
    Replay(crate::replay::Replay),
    /// Find out up to which load a configuration comes back from trouble by itself; print a map of where it
    /// does and where it does not
    #[command(after_help = MAP)]
    Map(Map),
}

/// What a configuration is rehearsed with, and held to.
#[derive(Debug, Args)]
pub(crate) struct World {
    /// Requests per second, 1 to 10,000; by default 200, or the few more that make the load true
    #[arg(long, value_parser = rate)]
    rate: Option<f64>,
    /// How long backends take to answer: the median of a lognormal distribution, whose mean is a fifth above
    #[arg(long, default_value = "20ms", value_parser = latency)]
    latency: Duration,
    /// The share of its capacity that the busiest backend needs while all is well, in percent
    #[arg(long, default_value_t = 50, value_parser = clap::value_parser!(u8).range(1..=99))]
    load: u8,
    /// What must hold in every case, as in scenarios; of two configurations, under the new one; repeatable
    #[arg(long, value_name = "EXPECTATION", value_parser = level)]
    pub(crate) slo: Vec<Expectation>,
}

impl World {
    /// A service in it.
    pub(crate) fn stage(&self, config: &Config, file: &Path, service: usize) -> Stage {
        let setting = self.setting();
        let mut stage = Stage::new(config, file, service, &setting);
        if self.rate.is_none() {
            stage.fill(setting.load);
        }
        let load = setting.load;
        if (stage.busy() - load).abs() > NEARLY {
            let rate = stage.fits(load);
            let other = Stage::new(config, file, service, &Setting { rate, ..setting });
            let fits = (other.busy() - load).abs() <= NEARLY && rate <= RATE_MAX;
            stage.notes.push(self.off(&stage, fits.then_some(rate)));
        }
        stage
    }

    /// Says that whole places make the load another than is asked for, and at which rate they do not.
    fn off(&self, stage: &Stage, fits: Option<f64>) -> String {
        let (busy, load) = (stage.busy() * 100.0, self.load);
        let remedy = match fits {
            Some(rate) => format!("--rate {rate} makes it {load} %"),
            None if self.rate.is_some() => format!("without --rate it is nearer to {load} %"),
            None => "a longer --latency makes it more".to_owned(),
        };
        format!(
            "the busiest backend is {busy:.0} % busy, and not {load} %: nobody has half of a place; {remedy}"
        )
    }

    /// What becomes of it in another configuration: the machines stay the same.
    pub(crate) fn after(
        &self,
        before: &Stage,
        (config, file): (&Config, &Path),
        service: usize,
    ) -> Stage {
        before.after(config, file, service, &self.setting())
    }

    /// For people: of one stage, or of one before and after a change.
    pub(crate) fn facts(stages: &[&Stage]) -> Vec<String> {
        let each = |of: &dyn Fn(&Stage) -> String| {
            let mut all: Vec<String> = stages.iter().map(|stage| of(stage)).collect();
            all.dedup();
            all.join(" and ")
        };
        let first = &stages[0].scenario;
        let rate = first.workload.rate;
        let mean = first.origins[stages[0].origins[0]].latency.mean().as_secs_f64() * 1_000.0;
        let counted = |count: String, word: &str| match count.as_str() {
            "1" => format!("1 {word}"),
            _ => format!("{count} {word}s"),
        };
        let backends = counted(each(&|it| it.origins.len().to_string()), "backend");
        let places = counted(each(&|it| it.places().to_string()), "place");
        let busy = each(&|it| format!("{:.0} %", it.busy() * 100.0));
        vec![
            format!("{backends} with {places}"),
            format!("{rate} requests/s"),
            format!("{mean:.0} ms to answer on average"),
            format!("{busy} busy"),
        ]
    }

    /// The same in a line.
    pub(crate) fn told(stages: &[&Stage]) -> String {
        Self::facts(stages).join(", ")
    }

    /// As on the command line that repeats a run, as far as it is not the default.
    pub(crate) fn written(&self) -> String {
        let latency = quantity::show_duration(self.latency);
        let rate = self.rate.map_or_else(String::new, |rate| format!(" --rate {rate}"));
        format!("{rate} --latency {latency} --load {}", self.load)
    }
}

/// How far servers' latencies spread: one answer in a hundred takes four times the median.
pub(crate) const SIGMA: f64 = 0.6;
/// Requests per second where nobody says how many.
const RATE: f64 = 200.0;
/// A load that is so near to another is called by its name.
const NEARLY: f64 = 0.02;

impl World {
    pub(crate) fn setting(&self) -> Setting {
        let latency = Latency::Lognormal { median: self.latency, sigma: SIGMA };
        Setting { rate: self.rate.unwrap_or(RATE), latency, load: f64::from(self.load) / 100.0 }
    }
}

const MAP: &str = "\
Examples:
  lb-sim map lb.toml                                  load against how much speed backends lose for 10 s
  lb-sim map lb.toml --y lasts --trigger refuse --size 50 --stable 60     exit code 131 below 60 %";

const DRAW: &str = "\
Example: lb-sim draw --seed 7 > world.toml

A drawn world expects nothing but the invariants, and nobody said that what goes wrong in it would be
felt: a sweep passes over faults that nobody noticed, and lb-sim run exits with 130 for them as in any
scenario.";

const EXPLAIN: &str = "\
Examples:
  lb-sim run scenarios/partition.toml --seed 7 --trace a.txt
  lb-sim explain a.txt 1475                by the request's number in the trace, or
  lb-sim explain a.txt exchange=1476       by that of its exchange";

const DIFF: &str = "\
Examples:
  lb-sim diff lb.toml next.toml
  lb-sim diff lb.toml next.toml --seeds 50 --slo 'p99@calm <= 250ms'     exit code 131 if it is missed after";

const CHECK: &str = "\
Examples:
  lb-sim check lb.toml
  lb-sim check lb.toml --service api --rate 1000 --latency 8ms --load 70
  lb-sim check lb.toml --slo 'error_ratio < 0.1%' --slo 'p99 <= 250ms'     exit code 131 if one is missed";

pub(crate) fn rate(text: &str) -> Result<f64, String> {
    let rate = text.parse::<f64>().ok().filter(|rate| (1.0..=RATE_MAX).contains(rate));
    rate.ok_or_else(|| "write a number from 1 to 10,000".to_owned())
}

pub(crate) fn latency(text: &str) -> Result<Duration, String> {
    let span = quantity::duration(text).map_err(in_words)?;
    let range = Duration::from_micros(10)..=Duration::from_secs(10);
    range.contains(&span).then_some(span).ok_or_else(|| "write 10us to 10s".to_owned())
}

pub(crate) fn in_words(Mistake { what, remedy }: Mistake) -> String {
    format!("it {what}; {remedy}")
}

/// A share, in percent.
pub(crate) fn percent(text: &str) -> Result<f64, String> {
    let percent = text.trim_end_matches('%').parse::<f64>().ok();
    let percent = percent.filter(|percent| (1.0..=100.0).contains(percent));
    percent.ok_or_else(|| "write a percentage from 1 to 100".to_owned())
}

pub(crate) fn level(text: &str) -> Result<Expectation, String> {
    Expectation::parse(text).map_err(in_words)
}

/// Seeds of one sweep.
pub(crate) const SEEDS_MAX: u64 = 10_000_000;

/// Seeds of one rehearsal.
const FEW_SEEDS_MAX: u64 = 1_000;

/// A number of seeds, or a range.
pub(crate) fn few_seeds(text: &str) -> Result<RangeInclusive<u64>, String> {
    let range = match text.parse::<u64>() {
        Ok(count @ 1..) => 1..=count,
        Ok(0) => return Err("there is nothing to see without a run".to_owned()),
        Err(_) => seeds(text)?,
    };
    let few = range.end() - range.start() < FEW_SEEDS_MAX;
    few.then_some(range).ok_or_else(|| format!("at most {FEW_SEEDS_MAX}"))
}

pub(crate) fn seeds(text: &str) -> Result<RangeInclusive<u64>, String> {
    let range = text.split_once("..").and_then(|(first, last)| {
        Some((first.parse::<u64>().ok()?, last.trim_start_matches('=').parse::<u64>().ok()?))
    });
    match range {
        Some((first, last)) if first <= last && last - first < SEEDS_MAX => Ok(first..=last),
        Some(_) => Err(format!("from the lower to the higher, and at most {SEEDS_MAX} of them")),
        None => Err("write two numbers, as in 1..200".to_owned()),
    }
}
