//! A configuration against everything that happens sooner or later: a table, findings, and an exit code.

use std::collections::BTreeMap;
use std::fmt::{self, Write};
use std::io::{IsTerminal, Write as _};
use std::ops::RangeInclusive;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use clap::Args;
use lb_config::Config;
use lb_config::quantity::show_duration;
use lb_sim::measure::Facts;
use lb_sim::page::check::Picture;
use lb_sim::rehearsal::{Battery, Broken, Case, Finding, Outlook, Stage, advice, battery};
use lb_sim::scenario::{Expectation, Kind, Metric, Phase};
use lb_sim::shell::quoted;
use lb_sim::{Engine, Verdict, model, parallel};

use crate::cli::{World, few_seeds};
use crate::html::{self, Html};
use crate::{Watch, print, say, text_of};

/// What a service level that is missed says to a shell.
pub(crate) const MISSED: u8 = 131;
/// What a broken invariant says.
const BROKEN: u8 = 129;

/// A level that was missed: in which case, under which seed first, what there was instead, and how often.
#[derive(Debug)]
pub(crate) struct Missed {
    case: &'static str,
    level: String,
    /// What there was; `None`: nothing to measure.
    found: Option<f64>,
    is_latency: bool,
    first: u64,
    seeds: u64,
}

impl fmt::Display for Missed {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { case, level, found, is_latency, first, seeds } = self;
        write!(out, "{case}: {level}: ")?;
        match (found, is_latency, level.ends_with('%')) {
            (None, ..) => out.write_str("there was nothing to measure"),
            (Some(found), true, _) => write!(out, "it is {found:.1} ms"),
            (Some(found), false, true) => write!(out, "it is {:.2}%", found * 100.0),
            (Some(found), false, false) => write!(out, "it is {found:.4}"),
        }?;
        match seeds {
            1 => write!(out, " under seed {first} alone"),
            _ => write!(out, " under seed {first}, the first of {seeds} that miss it"),
        }
    }
}

/// What is rehearsed of a file, and under which seeds.
#[derive(Debug, Args)]
pub(crate) struct Check {
    /// The configuration of lb-server
    file: PathBuf,
    /// Only this service
    #[arg(long)]
    service: Option<String>,
    /// Only this case, by its name in the table; repeatable
    #[arg(long = "case", value_name = "CASE")]
    cases: Vec<String>,
    /// How many seeds each case is run under, or from which to which: 5, 7..7
    #[arg(long, default_value = "5", value_name = "N|A..B", value_parser = few_seeds)]
    pub(crate) seeds: RangeInclusive<u64>,
    #[command(flatten)]
    pub(crate) world: World,
    #[command(flatten)]
    html: Html,
}

/// What became of a case under all seeds.
pub(crate) struct Done {
    pub(crate) outlook: Outlook,
    pub(crate) missed: Vec<Missed>,
    /// What it looks like, if there is to be a page.
    pub(crate) picture: Option<Picture>,
}

pub(crate) fn check(check: &Check) -> Result<ExitCode, String> {
    let Check { file, service, world, .. } = check;
    let (config, service) = (read(file)?, service.as_deref());
    let page = check.html.open(&[file])?;
    let one = service.map(|name| chosen(&config, Some(name))).transpose()?;
    let (mut broken, mut missed, mut sections) = (false, false, Vec::new());
    for index in one.map_or(0..config.services.len(), |at| at..at + 1) {
        let stage = world.stage(&config, file, index);
        looks_at_something(&stage, &world.slo)?;
        let battery = only(battery(&stage), &check.cases)?;
        let calm = || battery.cases.iter().all(|case| case.trouble.is_none());
        if let Some(level) = world.slo.iter().find(|level| is_of_trouble(level) && calm()) {
            return Err(format!("{:?}: nothing goes wrong in what is rehearsed", level.text));
        }
        let done = rehearse(&stage, &battery.cases, check, page.is_some());
        broken |= done.iter().any(|done| !done.outlook.broken.is_empty());
        missed |= done.iter().any(|done| !done.missed.is_empty());
        if page.is_some() {
            sections.push(html::of_service(&stage, &battery, &done, check));
        }
        print(&told(&stage, battery, done, check))?;
    }
    if let Some(page) = page {
        page.write(&html::of_check(file, &sections))?;
    }
    Ok(exit(broken, missed))
}

/// The place of the service of this name, or of the first.
pub(crate) fn chosen(config: &Config, service: Option<&str>) -> Result<usize, String> {
    let names: Vec<&str> = config.services.iter().map(|it| it.core.name.as_str()).collect();
    match service {
        None if names.is_empty() => Err("it has no service that could be rehearsed".to_owned()),
        None => Ok(0),
        Some(name) => names.iter().position(|known| *known == name).ok_or_else(|| {
            format!("there is no service {name:?}; its services: {}", names.join(", "))
        }),
    }
}

/// Leaves out what was not asked for.
fn only(mut battery: Battery, cases: &[String]) -> Result<Battery, String> {
    let known: Vec<&str> = battery.cases.iter().map(|case| case.name).collect();
    if let Some(unknown) = cases.iter().find(|name| !known.contains(&name.as_str())) {
        let skipped = battery.skipped.iter().find(|it| it.name == *unknown);
        let why = skipped.map_or(format!("there are {}", known.join(", ")), |it| it.why.to_owned());
        return Err(format!("there is no case {unknown:?} here: {why}"));
    }
    if !cases.is_empty() {
        battery.cases.retain(|case| cases.iter().any(|name| name == case.name));
        battery.skipped.clear();
    }
    Ok(battery)
}

/// What a shell is told: that a promise of lb was broken, or that a level was missed.
pub(crate) fn exit(broken: bool, missed: bool) -> ExitCode {
    match (broken, missed) {
        (true, _) => ExitCode::from(BROKEN),
        (false, true) => ExitCode::from(MISSED),
        (false, false) => ExitCode::SUCCESS,
    }
}

pub(crate) fn read(file: &Path) -> Result<Config, String> {
    let name = file.display().to_string();
    let text = text_of(file)?;
    let (config, diagnostics) = lb_config::load(&lb_config::Source { name: &name, text: &text });
    let lines: Vec<String> = diagnostics.iter().map(ToString::to_string).collect();
    match config {
        None if Kind::of(&text) == Some(Kind::Scenario) => Err(format!(
            "{name}: is a scenario, and no configuration of lb-server; lb-sim run {name} runs it"
        )),
        None => Err(lines.join("\n")),
        Some(config) => {
            lines.iter().for_each(|warning| say(warning));
            Ok(config)
        }
    }
}

/// Refuses a level about a backend or a time that the service does not have: it would always hold.
pub(crate) fn looks_at_something(stage: &Stage, levels: &[Expectation]) -> Result<(), String> {
    for level in levels {
        let duration = stage.scenario.duration;
        if level.phase.is_some_and(|phase| phase.is_beyond(duration)) {
            let (text, span) = (&level.text, show_duration(duration));
            return Err(format!("{text:?}: a case lasts {span}: nothing would be looked at"));
        }
        if let Metric::Share(origin) = &level.metric
            && stage.scenario.place(origin).is_none()
        {
            let (text, name) = (&level.text, stage.name());
            return Err(format!("{text:?}: service {name} has no backend at {origin}"));
        }
    }
    Ok(())
}

/// Whether a level is about the time of some trouble, or after it.
const fn is_of_trouble(level: &Expectation) -> bool {
    matches!(level.phase, Some(Phase::Faults | Phase::Healed))
}

/// Runs all cases, on all cores.
fn rehearse(stage: &Stage, cases: &[Case], check: &Check, has_page: bool) -> Vec<Done> {
    let watch = Watch::start();
    let mut all = BTreeMap::new();
    let one = |at: usize| {
        let (case, mut outlook, mut missed) = (&cases[at], Outlook::none(), Vec::new());
        let mut picture = None;
        for seed in check.seeds.clone() {
            let (verdict, facts) = model::measured(&case.scenario, seed);
            outlook.add(stage, case, &verdict, &facts);
            miss(&mut missed, case, (&verdict, &facts), &check.world.slo);
            if has_page && picture.is_none() {
                // A picture needs the log, which is kept for this one run.
                picture = Some(Picture::of(case, &Engine::Model.run(&case.scenario, seed)));
            }
        }
        Done { outlook, missed, picture }
    };
    parallel::each(cases.len(), None, one, |at, done| {
        all.insert(at, done);
        progress(all.len(), cases.len(), watch.took());
    });
    all.into_values().collect()
}

/// Adds the levels that a run misses, each as it is missed first.
pub(crate) fn miss(
    missed: &mut Vec<Missed>,
    case: &Case,
    (verdict, facts): (&Verdict, &Facts),
    levels: &[Expectation],
) {
    for level in levels {
        // Where nothing goes wrong there is no such time.
        if is_of_trouble(level) && case.trouble.is_none() {
            continue;
        }
        let span = case.span(level.phase);
        if span.is_empty() {
            continue; // what goes wrong at one moment, or from the start, leaves no such time
        }
        let measure = facts.measure(&case.scenario, &span);
        // What cannot be measured, such as a latency where nobody got a good answer, does not hold; nor
        // does what was measured where nobody met the trouble.
        let found = measure.of(&level.metric, &case.scenario);
        let found = found.filter(|_| !verdict.is_unnoticed());
        if found.is_some_and(|found| level.holds(found)) {
            continue;
        }
        if let Some(known) = missed.iter_mut().find(|it| it.level == level.text) {
            known.seeds += 1;
            continue;
        }
        let (level, is_latency) = (level.text.clone(), level.is_latency());
        let (case, first) = (case.name, verdict.seed);
        missed.push(Missed { case, level, found, is_latency, first, seeds: 1 });
    }
}

/// A line that is written over, for somebody who watches.
pub(crate) fn progress(done: usize, all: usize, took: Duration) {
    let mut out = std::io::stderr();
    if out.is_terminal() {
        let left = took.mul_f64((all - done) as f64 / done as f64).as_secs();
        let _closed = write!(out, "\r{done} of {all} cases, {left} s left   \r");
    }
}

fn told(stage: &Stage, battery: Battery, done: Vec<Done>, check: &Check) -> String {
    let mut out = String::new();
    let _infallible = writeln!(
        out,
        "service {}: {}, {}\n",
        stage.name(),
        World::told(&[stage]),
        counted(check.seeds.clone().count(), "seed"),
    );
    for note in stage.notes.iter().chain(&battery.thin) {
        let _infallible = writeln!(out, "  {note}");
    }
    out += HEAD;
    let mut cases = Vec::new();
    for (case, done) in battery.cases.into_iter().zip(done) {
        out += &line(&case, &done);
        cases.push((case, done));
    }
    out += LEGEND;
    for (case, done) in &cases {
        for broken in &done.outlook.broken {
            let Broken { seed, what } = broken;
            let again = again(stage, case.name, *seed, check);
            let _infallible = writeln!(out, "  BROKEN  {}: {what}\n    again: {again}", case.name);
        }
        if done.outlook.unnoticed > 0 {
            let (runs, name) = (counted(done.outlook.unnoticed as usize, "run"), case.name);
            let who = "what went wrong was noticed by nobody: no request would have gone there";
            let _infallible = writeln!(out, "  UNSEEN  {name}, {runs}: {who}");
        }
        for missed in &done.missed {
            let _infallible = writeln!(out, "  MISSED  {missed}");
        }
    }
    let service = &stage.scenario.config.services[stage.service].core;
    let has_missed = cases.iter().any(|(_, done)| !done.missed.is_empty());
    let cases: Vec<(Case, Outlook)> =
        cases.into_iter().map(|(case, done)| (case, done.outlook)).collect();
    let findings = advice(service, &cases);
    out += match (findings.is_empty(), has_missed) {
        (false, _) => "",
        (true, false) => "  nothing to change was found\n",
        (true, true) => {
            "  no setting is known to help with what was missed; look closer with --case and --html\n"
        }
    };
    for Finding { case, what, remedy } in findings {
        let _infallible = writeln!(out, "  {case}: {what};\n    {remedy}");
    }
    for skipped in battery.skipped {
        let _infallible = writeln!(out, "  not rehearsed: {}: {}", skipped.name, skipped.why);
    }
    out + "\n"
}

/// A word with its number.
pub(crate) fn counted(count: usize, word: &str) -> String {
    format!("{count} {word}{}", if count == 1 { "" } else { "s" })
}

/// The command that repeats one run of a case.
fn again(stage: &Stage, case: &str, seed: u64, check: &Check) -> String {
    let (file, world) = (quoted(&check.file.display().to_string()), check.world.written());
    let service = quoted(stage.name());
    format!("lb-sim check {file} --service {service} --case '{case}' --seeds {seed}..{seed}{world}")
}

const HEAD: &str = "  \
     case                     errors       429      p50       p99     p99.9   asked    left    back   hottest  least\n";
const LEGEND: &str = "  \
     From the trouble's beginning on: errors, answers 429 of a limit, and latencies of clients. Meanwhile: requests to backends for \
     each of a client;\n  how long until a faulty backend was left alone, and after the trouble until all was \
     as before, at worst;\n  the share of a sound backend meanwhile, and of the least asked in the end, \
     against what it has in calm times.\n\n";

fn line(case: &Case, done: &Done) -> String {
    let it = &done.outlook;
    let ms = |ms: f64| {
        if ms < 10_000.0 { format!("{ms:.0} ms") } else { format!("{:.1} s", ms / 1_000.0) }
    };
    let span = |span: Option<Duration>| match span {
        _ if case.faulty.is_empty() => "-".to_owned(),
        Some(span) => format!("{:.1} s", span.as_secs_f64()),
        None => "never".to_owned(),
    };
    let factor = |factor: f64, is_known: bool| match is_known && factor.is_finite() {
        true => format!("{factor:.2}"),
        false => "-".to_owned(),
    };
    let limited = match it.limited {
        0.0 => "-".to_owned(),
        limited => format!("{:.1} %", limited * 100.0),
    };
    let mark = if done.missed.is_empty() && it.broken.is_empty() { ' ' } else { '✗' };
    format!(
        "{mark} {:<20} {:>8.3} %  {:>6}  {:>8}  {:>8}  {:>8}  {:>5.2}  {:>6}  {:>6}  {:>6}  {:>6}\n",
        case.name,
        it.error_ratio * 100.0,
        limited,
        ms(it.p50),
        ms(it.p99),
        ms(it.p999),
        it.amplification,
        if it.is_thin { "-".to_owned() } else { span(it.detect) },
        span(it.recover),
        factor(it.hottest, it.hottest > 0.0),
        factor(it.starved, true),
    )
}
