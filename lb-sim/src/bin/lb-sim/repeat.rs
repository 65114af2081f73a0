//! Repeats the decisions of a run: all that the core was handed is handed to the core alone, and what it
//! decides is compared, event by event.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::Args;
use lb_config::quantity::show_duration;
use lb_sim::repeat::{self, Ground};
use lb_sim::{Class, scenario};

use crate::{print, read, say};

const EXAMPLE: &str = "\
Examples:
  lb-sim repeat scenarios/partition.toml --seed 7
  lb-sim repeat scenarios                            all of them; exit code 129 if one differs
  lb-sim repeat scenarios/reset.toml --real          of a run on real sockets, in real time";

/// Run scenarios, and repeat every decision of the proxy with the core alone: bit for bit
#[derive(Debug, Args)]
#[command(after_help = EXAMPLE)]
pub(crate) struct Repeat {
    /// A scenario, or a folder of them
    path: PathBuf,
    /// The seed; by default each scenario's own
    #[arg(long, allow_negative_numbers = true)]
    seed: Option<u64>,
    /// Repeat what happened on real sockets instead of simulated ones
    #[arg(long)]
    real: bool,
}

impl Repeat {
    pub(crate) fn run(&self) -> Result<ExitCode, String> {
        let mut differ = 0;
        let mut head = Some("inputs  decisions  differ  scenario\n");
        for file in scenario::files(&self.path)? {
            let scenario = read(&file)?;
            let ground = if self.real { Ground::Real } else { Ground::Net };
            let engine = ground.engine();
            let refusals = engine.refusals(&scenario);
            if !refusals.is_empty() {
                say(&format!("{}: left out: {}", scenario.file, refusals.join("; ")));
                continue;
            }
            let seed = self.seed.unwrap_or(scenario.seed);
            let (run, tape) = repeat::taped(&scenario, seed, ground);
            if let Some(panic) = run.panic {
                return Err(format!("{}: {panic}", scenario.file));
            }
            let done = repeat::repeat(&scenario, seed, &tape)?;
            let repeat::Repetition { inputs, decisions, differs } = done;
            let count = u32::from(differs.is_some());
            differ += count;
            print(head.take().unwrap_or_default())?;
            print(&format!("{inputs:>6}  {decisions:>9}  {count:>6}  {}\n", scenario.file))?;
            if let Some(repeat::Difference { line, at, was, is }) = differs {
                // Its first line says which run it is of.
                let line = line + 1;
                let at = show_duration(at);
                print(&format!(
                    "  line {line} of what --trace writes, {at}:\n    was {was}\n    is  {is}\n"
                ))?;
                say(&format!("  {} --trace FILE", engine.again(&scenario.file, seed)));
            }
        }
        let code = Class::Safety.exit_code();
        Ok(if differ == 0 { ExitCode::SUCCESS } else { ExitCode::from(code) })
    }
}
