//! Many seeds: every scenario under every seed, or a world drawn from each, on as many threads as there are
//! cores.

mod tally;

use std::collections::BTreeSet;
use std::fs;
use std::ops::RangeInclusive;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use lb_sim::store::Store;
use lb_sim::swarm::{Base, coverage, drawn};
use lb_sim::{Class, Failure, Scenario, Scrutiny, Verdict, engine, model, scenario};

use crate::cli::{Engine, seeds};
use crate::{Watch, files, parallel, read};

use tally::Tally;

#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// A scenario, or a folder of them; a swarm can do without
    #[arg(required_unless_present = "swarm")]
    path: Option<PathBuf>,
    /// Draw configuration, faults, workload and network from each seed, and keep of a scenario its services and
    /// backends alone
    #[arg(long)]
    swarm: bool,
    /// From the first to the last
    #[arg(long, value_name = "A..B", value_parser = seeds,
        required_unless_present_any = ["minutes", "until_saturated"])]
    seeds: Option<RangeInclusive<u64>>,
    /// Stop after so long
    #[arg(long, value_name = "M")]
    minutes: Option<f64>,
    /// Stop when so many runs in a row have reached nothing new
    #[arg(long, value_name = "RUNS", num_args = 0..=1, require_equals = true,
        default_missing_value = "500",
        value_parser = clap::value_parser!(u64).range(1..))]
    until_saturated: Option<u64>,
    /// What runs them; by default net, and model for a swarm
    #[arg(long, value_enum)]
    engine: Option<Engine>,
    /// Runs at the same time; by default one per core
    #[arg(long, value_parser = clap::value_parser!(u16).range(1..=1_024))]
    jobs: Option<u16>,
    /// Keep seeds that fail in this file, and run those that it has first
    #[arg(long, value_name = "FILE")]
    store: Option<PathBuf>,
    /// Leave what fails as it is
    #[arg(long)]
    no_shrink: bool,
    /// How long to look for the least that fails, for each thing that does
    #[arg(long, value_name = "S", default_value_t = 20, value_parser = clap::value_parser!(u32).range(1..=86_400))]
    shrink_seconds: u32,
    /// Write what fails into this folder, as it was drawn and shrunk; by default it is printed
    #[arg(long, value_name = "FOLDER")]
    out: Option<PathBuf>,
}

pub(crate) const EXAMPLES: &str = "\
Examples:
  lb-sim sweep scenarios --seeds 1..200 --jobs 2
  lb-sim sweep --swarm --seeds 1..1000                        a world from each seed
  lb-sim sweep scenarios --swarm --minutes 10 --store seeds.txt
  lb-sim sweep --swarm --until-saturated=1000 --out found";

/// What every seed is put to.
enum Source {
    Scenario { scenario: Box<Scenario>, text: String },
    Swarm(Base),
}

/// What became of one run.
struct Done {
    source: usize,
    verdict: Verdict,
    reached: BTreeSet<String>,
    failed: Option<Failed>,
}

/// A run that failed.
struct Failed {
    class: Class,
    /// What failed, and after how many requests; `None` if the run only proves nothing.
    failure: Option<(Failure, u64)>,
    /// What was run.
    text: String,
}

/// One run to be done.
#[derive(Clone, Copy)]
struct Task {
    source: usize,
    seed: u64,
}

/// Seeds of a sweep that has no last one.
const SEEDS_MAX: u64 = 10_000_000;

pub(crate) fn run(args: &Args) -> Result<ExitCode, String> {
    let engine = args.engine.unwrap_or(if args.swarm { Engine::Model } else { Engine::Net });
    let engine = simulated(engine)?;
    let sources = sources(args, engine)?;
    let mut store = open(args.store.as_deref())?;
    let limit = args.minutes.map(time).transpose()?;
    let seeds = args.seeds.clone().unwrap_or(1..=SEEDS_MAX);

    // Those that failed before come first.
    let known = store.kept().iter().filter(|kept| kept.engine == engine.as_str());
    let known = known.filter_map(|kept| {
        let source = sources.iter().position(|it| it.name() == kept.scenario)?;
        Some(Task { source, seed: kept.seed })
    });
    let known: Vec<Task> = known.collect();
    let count = (seeds.end() - seeds.start() + 1).saturating_mul(sources.len() as u64);
    let count = usize::try_from(count).unwrap_or(usize::MAX).saturating_add(known.len());
    let task = |nth: usize| match known.get(nth) {
        Some(task) => *task,
        None => {
            let nth = nth - known.len();
            Task { source: nth % sources.len(), seed: seeds.start() + (nth / sources.len()) as u64 }
        }
    };

    let (watch, stop) = (Watch::start(), AtomicBool::new(false));
    let mut tally = Tally::new(&sources, engine, count, limit);
    let work = |nth| (!stop.load(Ordering::Relaxed)).then(|| work(&sources, engine, task(nth)));
    parallel::until(count, args.jobs, &stop, work, |nth, done| {
        let Some(done) = done else { return };
        match done {
            Err(why) => tally.wrong(why),
            Ok(done) => {
                tally.add(&done, nth < known.len(), &mut store);
                tally.keep(done);
            }
        }
        let is_late = limit.is_some_and(|limit| watch.took() >= limit);
        let is_flat = args.until_saturated.is_some_and(|runs| tally.is_flat(runs));
        if is_late || is_flat || tally.is_wrong() {
            stop.store(true, Ordering::Relaxed);
        }
        tally.progress(watch.took());
    });
    if let Some(path) = &args.store {
        fs::write(path, store.text()).map_err(|error| format!("{}: {error}", path.display()))?;
    }
    let shrink = (!args.no_shrink).then(|| Duration::from_secs(args.shrink_seconds.into()));
    tally.deliver(args.out.as_deref(), shrink)?;
    tally.verdict(watch.took())
}

impl Source {
    /// As seeds are kept under.
    fn name(&self) -> &str {
        match self {
            Self::Scenario { scenario, .. } => &scenario.file,
            Self::Swarm(base) => &base.name,
        }
    }
}

fn sources(args: &Args, engine: Engine) -> Result<Vec<Source>, String> {
    let found = match &args.path {
        Some(path) => files(path)?,
        None => return Ok(vec![Source::Swarm(base(None)?)]),
    };
    let mut sources = Vec::new();
    for file in &found {
        // What the model has no notion of is left to the other.
        let source = match args.swarm {
            true => Source::Swarm(base(Some(file))?),
            false => Source::Scenario { scenario: Box::new(read(file)?), text: text_of(file)? },
        };
        let is_known = match &source {
            Source::Swarm(base) => knows(engine, &world(base, 1)?.0),
            Source::Scenario { scenario, .. } => knows(engine, scenario),
        };
        if is_known {
            sources.push(source);
        }
    }
    match (sources.is_empty(), &args.path) {
        (true, Some(path)) => Err(format!(
            "{}: there is no scenario (*.toml) here that {} knows",
            path.display(),
            engine.as_str()
        )),
        _ => Ok(sources),
    }
}

/// What a swarm is drawn around.
pub(crate) fn base(file: Option<&Path>) -> Result<Base, String> {
    let Some(file) = file else { return Ok(Base { name: "swarm".to_owned(), text: None }) };
    // What is wrong with it is told in full.
    read(file)?;
    Ok(Base { name: format!("swarm:{}", file.display()), text: Some(text_of(file)?) })
}

fn text_of(file: &Path) -> Result<String, String> {
    fs::read_to_string(file).map_err(|error| format!("{}: {error}", file.display()))
}

fn open(file: Option<&Path>) -> Result<Store, String> {
    match file {
        Some(file) if file.exists() => Store::parse(&file.display().to_string(), &text_of(file)?),
        _ => Ok(Store::default()),
    }
}

fn time(minutes: f64) -> Result<Duration, String> {
    let span = Duration::try_from_secs_f64(minutes * 60.0).ok().filter(|it| !it.is_zero());
    span.ok_or_else(|| format!("--minutes {minutes} is no time; write 0.5 or 10"))
}

/// The world that a seed draws, and its text.
fn world(base: &Base, seed: u64) -> Result<(Scenario, String), String> {
    let text = drawn(base, seed)?;
    let (world, said) = scenario::load(&lb_config::Source { name: &base.name, text: &text });
    let said = || said.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n");
    Ok((world.ok_or_else(said)?, text))
}

/// Whether an engine can run a scenario.
pub(crate) fn knows(engine: Engine, scenario: &Scenario) -> bool {
    match engine {
        Engine::Net => scenario.model_only || engine::refusals(scenario).is_empty(),
        Engine::Model => model::refusals(scenario).is_empty(),
        Engine::Real => false,
    }
}

/// What a run of a scenario comes to.
pub(crate) fn judged(engine: Engine, scenario: &Scenario, seed: u64) -> Verdict {
    match engine {
        Engine::Net if !scenario.model_only => {
            Verdict::of(scenario, seed, &engine::run(scenario, seed))
        }
        Engine::Net | Engine::Model => model::judged(scenario, seed, Scrutiny::UNTRACED),
        Engine::Real => unreachable!("simulated() refused it"),
    }
}

/// Refuses the engine that cannot run the same thing twice.
pub(crate) fn simulated(engine: Engine) -> Result<Engine, String> {
    match engine {
        Engine::Net | Engine::Model => Ok(engine),
        Engine::Real => {
            Err("real time is too slow for that, and never the same: use --engine net or model"
                .into())
        }
    }
}

/// How many requests a run sends until something fails. It runs once more: few fail, and logs are long.
fn requests(engine: Engine, scenario: &Scenario, verdict: &Verdict, failure: &Failure) -> u64 {
    let run = match engine {
        Engine::Net if !scenario.model_only => engine::run(scenario, verdict.seed),
        Engine::Net | Engine::Model => model::run(scenario, verdict.seed),
        Engine::Real => unreachable!("simulated() refused it"),
    };
    failure.requests(verdict, &run.log)
}

fn work(sources: &[Source], engine: Engine, task: Task) -> Result<Done, String> {
    let Task { source, seed } = task;
    let drawn;
    let (scenario, text, is_swarm) = match &sources[source] {
        Source::Scenario { scenario, text } => (&**scenario, text, false),
        Source::Swarm(base) => {
            drawn = world(base, seed)?;
            (&drawn.0, &drawn.1, true)
        }
    };
    let verdict = judged(engine, scenario, seed);
    let reached = coverage::reached(scenario, &verdict);
    // Nobody said that what was drawn would be felt.
    let class = verdict.class().filter(|class| !is_swarm || *class != Class::Toothless);
    let failed = class.map(|class| {
        let failure = Failure::of(&verdict).map(|failure| {
            let requests = requests(engine, scenario, &verdict, &failure);
            (failure, requests)
        });
        Failed { class, failure, text: text.clone() }
    });
    Ok(Done { source, verdict, reached, failed })
}
