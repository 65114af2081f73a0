//! The command line.

use std::ops::RangeInclusive;
use std::path::PathBuf;

use clap::{Parser, Subcommand, ValueEnum};

const EXAMPLES: &str = "\
Examples:
  lb-sim run scenarios/partition.toml                    under the scenario's own seed
  lb-sim run scenarios/partition.toml --seed 7 --trace a.txt
  lb-sim run scenarios/partition.toml --seed 7 --explain 1476
  lb-sim sweep scenarios --seeds 1..200                  every scenario under 200 seeds

Exit codes: 0 all is well; 1 the scenario or the command is wrong; 127 something panicked;
128 something good did not happen in time; 129 something bad happened; 130 a fault was noticed
by nobody, or a sweep never reached one of its marks.";

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
    Run {
        /// The scenario
        file: PathBuf,
        /// The seed; by default the scenario's own
        #[arg(long)]
        seed: Option<u64>,
        /// What runs it
        #[arg(long, value_enum, default_value_t)]
        engine: Engine,
        /// Write down here everything that happened, a line each
        #[arg(long, value_name = "FILE")]
        trace: Option<PathBuf>,
        /// Tell all of one exchange, and what each of its choices was made from
        #[arg(long, value_name = "EXCHANGE")]
        explain: Option<u64>,
    },
    /// Run scenarios under many seeds; print those that fail
    #[command(after_help = "Example: lb-sim sweep scenarios --seeds 1..200 --jobs 2")]
    Sweep {
        /// A scenario, or a folder of them
        path: PathBuf,
        /// From the first to the last
        #[arg(long, value_name = "A..B", value_parser = seeds)]
        seeds: RangeInclusive<u64>,
        /// What runs them
        #[arg(long, value_enum, default_value_t)]
        engine: Engine,
        /// Runs at the same time; by default one per core
        #[arg(long, value_parser = clap::value_parser!(u16).range(1..=1_024))]
        jobs: Option<u16>,
    },
}

/// What a scenario runs in.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub(crate) enum Engine {
    /// The real proxy, with HTTP and all, in a simulated network
    #[default]
    Net,
    /// The proxy's decisions alone: a hundred times as fast
    Model,
}

/// Seeds of one sweep.
const SEEDS_MAX: u64 = 10_000_000;

fn seeds(text: &str) -> Result<RangeInclusive<u64>, String> {
    let range = text.split_once("..").and_then(|(first, last)| {
        Some((first.parse::<u64>().ok()?, last.trim_start_matches('=').parse::<u64>().ok()?))
    });
    match range {
        Some((first, last)) if first <= last && last - first < SEEDS_MAX => Ok(first..=last),
        Some(_) => Err(format!("from the lower to the higher, and at most {SEEDS_MAX} of them")),
        None => Err("write two numbers, as in 1..200".to_owned()),
    }
}
