//! Many seeds: every scenario under every seed, or a world drawn from each, on as many threads as there are
//! cores.

mod tally;

use std::collections::BTreeSet;
use std::ops::RangeInclusive;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use lb_sim::store::Store;
use lb_sim::swarm::{Base, coverage, drawn};
use lb_sim::{Class, Engine, Failure, Scenario, Verdict, parallel, scenario};

use crate::cli::{SEEDS_MAX, seeds};
use crate::interrupt::listen;
use crate::output::{Folder, Output};
use crate::{Watch, read, say, text_of};

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
    /// What runs them; by default what each says, or net; and model for a swarm
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
    #[arg(long, value_name = "S", default_value_t = 20,
        value_parser = clap::value_parser!(u32).range(1..=86_400))]
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
struct Source {
    given: Given,
    engine: Engine,
}

enum Given {
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

pub(crate) fn run(args: &Args) -> Result<ExitCode, String> {
    args.engine.map(simulated).transpose()?;
    let sources = sources(args)?;
    let mut store = open(args.store.as_deref())?;
    let limit = args.minutes.map(time).transpose()?;
    let mut kept = Output::open(args.store.as_ref(), &[])?;
    let folder = Folder::open(args.out.as_ref())?;
    // One that has no last seed goes on to the last that there is.
    let seeds = args.seeds.clone().unwrap_or(1..=SEEDS_MAX);

    // Those that failed before come first.
    let known = store.kept().iter().filter_map(|kept| {
        let is_of = |it: &Source| it.name() == kept.scenario && it.engine.as_str() == kept.engine;
        let source = sources.iter().position(is_of)?;
        Some(Task { source, seed: kept.seed })
    });
    let known: Vec<Task> = known.collect();
    if store.kept().len() > known.len() {
        let others = store.kept().len() - known.len();
        say(&format!("seeds of the store that are of nothing in this sweep, and stay: {others}"));
    }
    let count = (seeds.end() - seeds.start() + 1).saturating_mul(sources.len() as u64);
    let count = usize::try_from(count).unwrap_or(usize::MAX).saturating_add(known.len());
    let task = |nth: usize| match known.get(nth) {
        Some(task) => *task,
        None => {
            let nth = nth - known.len();
            Task { source: nth % sources.len(), seed: seeds.start() + (nth / sources.len()) as u64 }
        }
    };

    let (watch, stop, interrupted) = (Watch::start(), AtomicBool::new(false), listen()?);
    let is_interrupted = || interrupted.load(Ordering::Relaxed);
    let mut text = String::new();
    let mut tally = Tally::new(&sources, count, limit);
    let work = |nth| (!stop.load(Ordering::Relaxed)).then(|| work(&sources, task(nth)));
    parallel::until(count, args.jobs, &stop, work, |nth, done| {
        let Some(done) = done else { return };
        match done {
            Err(why) => tally.wrong(why),
            Ok(done) => {
                tally.add(&done, nth < known.len(), &mut store);
                tally.keep(done);
            }
        }
        if let Err(why) = save(&store, kept.as_mut(), &mut text) {
            tally.wrong(why);
        }
        let is_late = limit.is_some_and(|limit| watch.took() >= limit);
        let is_flat = args.until_saturated.is_some_and(|runs| tally.is_flat(runs));
        if is_late || is_flat || tally.is_wrong() || is_interrupted() {
            stop.store(true, Ordering::Relaxed);
        }
        tally.progress(watch.took());
    });
    save(&store, kept.as_mut(), &mut text)?;
    // Who wants to go does not wait until what fails is small.
    let shrinks = !args.no_shrink && !is_interrupted();
    let shrink = shrinks.then(|| Duration::from_secs(args.shrink_seconds.into()));
    tally.deliver(folder.as_ref().map(Folder::path), shrink)?;
    tally.verdict(watch.took())
}

/// Writes the store down if it is another than the last time.
fn save(store: &Store, kept: Option<&mut Output>, written: &mut String) -> Result<(), String> {
    let Some(kept) = kept else { return Ok(()) };
    let text = store.text();
    if text != *written {
        kept.replace(&text)?;
        *written = text;
    }
    Ok(())
}

impl Source {
    /// As seeds are kept under.
    fn name(&self) -> &str {
        match &self.given {
            Given::Scenario { scenario, .. } => &scenario.file,
            Given::Swarm(base) => &base.name,
        }
    }
}

fn sources(args: &Args) -> Result<Vec<Source>, String> {
    let swarm = |file: Option<&Path>| {
        let engine = args.engine.unwrap_or(Engine::Model);
        let base = base(file)?;
        let is_known = engine.refusals(&world(&base, 1)?.0).is_empty();
        Ok::<_, String>(is_known.then_some(Source { given: Given::Swarm(base), engine }))
    };
    let Some(path) = &args.path else {
        let engine = args.engine.unwrap_or(Engine::Model).as_str();
        let drawn = swarm(None)?.ok_or_else(|| format!("what a swarm draws is not for {engine}"));
        return Ok(vec![drawn?]);
    };
    let files = scenario::files(path)?;
    let plain = |file: &Path| {
        let scenario = Box::new(read(file)?);
        let engine = args.engine.unwrap_or(Engine::of(&scenario));
        let admitted = engine.admits(&scenario);
        // Of many, what one engine has no notion of is left to the other.
        if admitted.is_err() && files.len() > 1 {
            return Ok(None);
        }
        admitted?;
        let given = Given::Scenario { scenario, text: text_of(file)? };
        Ok::<_, String>(Some(Source { given, engine }))
    };
    let one = |file: &PathBuf| if args.swarm { swarm(Some(file)) } else { plain(file) };
    let sources = files.iter().map(one).collect::<Result<Vec<_>, _>>()?;
    let count = sources.len();
    let sources: Vec<Source> = sources.into_iter().flatten().collect();
    if sources.len() < count {
        say(&format!("left out, since the engine is not for them: {}", count - sources.len()));
    }
    match (sources.is_empty(), args.engine) {
        (false, _) => Ok(sources),
        (true, engine) => {
            let engine = engine.map_or("any engine", Engine::as_str);
            Err(format!("{}: there is no scenario here for {engine}", path.display()))
        }
    }
}

/// What a swarm is drawn around.
pub(crate) fn base(file: Option<&Path>) -> Result<Base, String> {
    let Some(file) = file else { return Ok(Base { name: "swarm".to_owned(), text: None }) };
    // What is wrong with it is told in full.
    read(file)?;
    Ok(Base { name: format!("swarm:{}", file.display()), text: Some(text_of(file)?) })
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

fn work(sources: &[Source], task: Task) -> Result<Done, String> {
    let Task { source, seed } = task;
    let Source { given, engine } = &sources[source];
    let drawn;
    let (scenario, text, is_swarm) = match given {
        Given::Scenario { scenario, text } => (&**scenario, text, false),
        Given::Swarm(base) => {
            drawn = world(base, seed)?;
            (&drawn.0, &drawn.1, true)
        }
    };
    let verdict = engine.judged(scenario, seed);
    let reached = coverage::reached(scenario, &verdict);
    // Nobody said that what was drawn would be felt.
    let class = verdict.class().filter(|class| !is_swarm || *class != Class::Toothless);
    let failed = class.map(|class| {
        let failure = Failure::of(&verdict).map(|failure| {
            // How far it came is in its log, for which it runs once more: few fail, and logs are long.
            let requests = failure.requests(&verdict, &engine.run(scenario, seed).log);
            (failure, requests)
        });
        Failed { class, failure, text: text.clone() }
    });
    Ok(Done { source, verdict, reached, failed })
}
