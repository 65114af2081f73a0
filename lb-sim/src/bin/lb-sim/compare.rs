//! Compares engines: the same scenarios in each of them, and how far apart they are.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::Args;
use lb_sim::agreement::{Apart, Figures};
use lb_sim::{Class, Engine, Scenario, parallel, report, scenario};

use crate::output::Output;
use crate::{print, read, say};

const EXAMPLE: &str = "\
Examples:
  lb-sim compare scenarios/partition.toml                          net, model and real sockets
  lb-sim compare scenarios --engines net,model                     without waiting for real time
  lb-sim compare scenarios --jobs 4 --write docs/fidelity.md       the table of all of them

Exit code 129 if the model is further from the net than it may be, or if a scenario does not hold in
either: what two engines agree in breaking is broken. Real sockets depend on the machine: their distance
is told, and decides nothing.";

/// Run scenarios in several engines; print what each measures, and how far apart they are
#[derive(Debug, Args)]
#[command(after_help = EXAMPLE)]
pub(crate) struct Compare {
    /// A scenario, or a folder of them
    path: PathBuf,
    /// The seed; by default each scenario's own
    #[arg(long)]
    seed: Option<u64>,
    /// Which engines; the first is what the others are compared with
    #[arg(long, value_enum, value_delimiter = ',', default_value = "net,model,real")]
    engines: Vec<Engine>,
    /// Scenarios at the same time; by default one per core
    #[arg(long, value_parser = clap::value_parser!(u16).range(1..=64))]
    jobs: Option<u16>,
    /// Write the table down here, as Markdown
    #[arg(long, value_name = "FILE")]
    write: Option<PathBuf>,
}

/// What the engines measured of a scenario; of those that refuse it, why.
struct Compared {
    file: String,
    seen: Vec<(Engine, Result<Seen, String>)>,
}

struct Seen {
    figures: Figures,
    /// How far from the first engine.
    apart: Vec<Apart>,
    class: Option<Class>,
}

impl Compare {
    pub(crate) fn run(&self) -> Result<ExitCode, String> {
        let files = scenario::files(&self.path)?;
        let scenarios = files.iter().map(|file| read(file)).collect::<Result<Vec<_>, _>>()?;
        if let Some(twice) =
            (1..self.engines.len()).find(|at| self.engines[..*at].contains(&self.engines[*at]))
        {
            return Err(format!("--engines: {} is named twice", self.engines[twice].as_str()));
        }
        let taken: Vec<&Path> = files.iter().map(PathBuf::as_path).collect();
        let written = Output::open(self.write.as_ref(), &taken)?;
        let mut ran: Vec<BTreeMap<usize, Ran>> = vec![BTreeMap::new(); scenarios.len()];
        // Real time waits for nobody who computes.
        for is_real in [false, true] {
            let mut runs = Vec::new();
            for at in 0..scenarios.len() {
                let engines = self.engines.iter().enumerate();
                let these = engines.filter(|(_, engine)| (**engine == Engine::Real) == is_real);
                runs.extend(these.map(|(nth, engine)| (at, nth, *engine)));
            }
            let work = |nth: usize| {
                let (at, _, engine) = runs[nth];
                let seed = self.seed.unwrap_or(scenarios[at].seed);
                run(engine, &scenarios[at], seed)
            };
            parallel::each(runs.len(), self.jobs, work, |nth, done| {
                let (at, nth, engine) = runs[nth];
                say(&format!("  {} {}", engine.as_str(), scenarios[at].file));
                ran[at].insert(nth, done);
            });
        }
        let compared: Vec<Compared> =
            scenarios.iter().zip(ran).map(|(it, ran)| self.compared(it, ran)).collect();
        for one in &compared {
            print(&table(one))?;
        }
        if let Some(file) = written {
            file.write(&self.document(&compared))?;
        }
        let is_apart = compared.iter().any(Compared::is_apart);
        let code = Class::Safety.exit_code();
        Ok(if is_apart { ExitCode::from(code) } else { ExitCode::SUCCESS })
    }

    fn compared(&self, scenario: &Scenario, ran: BTreeMap<usize, Ran>) -> Compared {
        let mut seen: Vec<(Engine, Result<Seen, String>)> = Vec::new();
        for (nth, one) in ran {
            let one = one.map(|(figures, class)| {
                let first = seen.iter().find_map(|(_, seen)| seen.as_ref().ok());
                let apart = first.map(|it| figures.apart(&it.figures, scenario));
                Seen { figures, apart: apart.unwrap_or_default(), class }
            });
            seen.push((self.engines[nth], one));
        }
        Compared { file: scenario.file.clone(), seen }
    }

    fn document(&self, compared: &[Compared]) -> String {
        let engines: Vec<&str> = self.engines.iter().map(|engine| engine.as_str()).collect();
        let mut out = INTRODUCTION.to_owned();
        put(&mut out, format_args!("    lb-sim compare {} ", self.path.display()));
        put(&mut out, format_args!("--engines {} --write FILE\n\n", engines.join(",")));
        out += "| scenario | engine | requests | errors | retries | p50 ms | p99 ms | shares | \
                furthest apart |\n|---|---|---:|---:|---:|---:|---:|---|---|\n";
        for one in compared {
            let name = one.file.rsplit('/').next().unwrap_or(&one.file);
            for (engine, seen) in &one.seen {
                put(&mut out, format_args!("| `{name}` | {} | ", engine.as_str()));
                match seen {
                    Err(why) => put(&mut out, format_args!("| | | | | | {why} |\n")),
                    Ok(seen) => {
                        let cells = cells(&seen.figures);
                        put(&mut out, format_args!("{} | {} |\n", cells.join(" | "), seen.told()));
                    }
                }
            }
        }
        out
    }
}

const INTRODUCTION: &str = "\
# Fidelity of the simulator

The same scenarios under the same seeds in up to three engines: `net` (the real proxy in a simulated network),
`model` (the core alone) and `real` (the real proxy on real sockets, by the clock on the wall). *Furthest apart*
is the figure in which an engine is furthest from the first one, measured by what is tolerated
(`lb-sim/src/agreement.rs`). Real sockets depend on what else their machine does, and are best measured where
that is little. Written by

";

/// What an engine measured, and what was wrong; or why it refuses.
type Ran = Result<(Figures, Option<Class>), String>;

fn run(engine: Engine, scenario: &Scenario, seed: u64) -> Ran {
    let refusals = engine.refusals(scenario);
    if !refusals.is_empty() {
        return Err(refusals.join("; "));
    }
    let run = engine.run(scenario, seed);
    let (verdict, _late) = engine.verdict(scenario, seed, &run);
    if verdict.class().is_some() {
        say(&format!(
            "{} in the engine {}:\n{}",
            scenario.file,
            engine.as_str(),
            report::failures(&verdict)
        ));
    }
    Ok((Figures::of(scenario, &run, None), verdict.class()))
}

impl Compared {
    /// Whether engines that depend on nothing but the seed are too far apart.
    fn is_apart(&self) -> bool {
        let judged = self.seen.iter().filter(|(engine, _)| *engine != Engine::Real);
        judged
            .filter_map(|(_, seen)| seen.as_ref().ok())
            .any(|seen| seen.class.is_some() || !seen.apart.iter().all(Apart::is_tolerable))
    }
}

impl Seen {
    /// The figure that is furthest from the first engine's, and whether the scenario holds.
    fn told(&self) -> String {
        let part = |apart: &&Apart| apart.by / apart.at_most;
        let furthest = self.apart.iter().max_by(|one, other| part(one).total_cmp(&part(other)));
        let mut told = furthest.map_or(String::new(), ToString::to_string);
        if furthest.is_some_and(|it| !it.is_tolerable()) {
            told += ": too far";
        }
        if let Some(class) = self.class {
            let said = format!("does not hold ({})", class.as_str());
            told = if told.is_empty() { said } else { format!("{told}; {said}") };
        }
        told
    }
}

fn table(compared: &Compared) -> String {
    let mut out = format!("{}\n", compared.file);
    put(
        &mut out,
        format_args!("  engine  requests  errors  retries    p50 ms    p99 ms  shares\n"),
    );
    for (engine, seen) in &compared.seen {
        put(&mut out, format_args!("  {:<6}", engine.as_str()));
        match seen {
            Err(why) => put(&mut out, format_args!("  left out: {why}\n")),
            Ok(seen) => {
                let [requests, errors, retries, p50, p99, shares] = cells(&seen.figures);
                put(&mut out, format_args!("  {requests:>8}  {errors:>6}  {retries:>7}"));
                put(&mut out, format_args!("  {p50:>8}  {p99:>8}  {shares}\n"));
                let told = seen.told();
                if !told.is_empty() {
                    put(&mut out, format_args!("          furthest apart: {told}\n"));
                }
            }
        }
    }
    out + "\n"
}

fn cells(figures: &Figures) -> [String; 6] {
    let percent = |share: f64| format!("{:.2}%", share * 100.0);
    let ms = |latency: Option<f64>| latency.map_or("-".to_owned(), |ms| format!("{ms:.1}"));
    let shares: Vec<String> =
        figures.shares.iter().map(|share| format!("{:.1}%", share * 100.0)).collect();
    [
        figures.requests.to_string(),
        percent(figures.errors),
        percent(figures.retries),
        ms(figures.p50),
        ms(figures.p99),
        shares.join(" "),
    ]
}

fn put(out: &mut String, what: std::fmt::Arguments<'_>) {
    out.write_fmt(what).expect("writing to a string cannot fail");
}
