//! One world of a swarm, as a scenario file.

use std::path::PathBuf;
use std::process::ExitCode;

use crate::{print, sweep};

#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The scenario whose services and backends are kept; without, those are drawn as well
    file: Option<PathBuf>,
    /// The seed that draws it
    #[arg(long, allow_negative_numbers = true, value_parser = clap::value_parser!(u64).range(..=SEED_MAX))]
    seed: u64,
}

/// The largest number that a scenario can name as its seed: TOML has 64 bits with a sign.
const SEED_MAX: u64 = i64::MAX as u64;

pub(crate) fn run(args: &Args) -> Result<ExitCode, String> {
    let base = sweep::base(args.file.as_deref())?;
    print(&lb_sim::swarm::drawn(&base, args.seed)?)?;
    Ok(ExitCode::SUCCESS)
}
