//! A configuration against everything that happens sooner or later: a table, findings, and an exit code.

use std::collections::BTreeMap;
use std::fmt::{self, Write};
use std::fs;
use std::io::{IsTerminal, Write as _};
use std::path::Path;
use std::process::ExitCode;
use std::time::Duration;

use lb_config::Config;
use lb_sim::engine::Run;
use lb_sim::measure::Facts;
use lb_sim::model;
use lb_sim::page;
use lb_sim::page::check::{Checked, Picture, Rehearsed, Section};
use lb_sim::rehearsal::{Battery, Case, Finding, Outlook, Setting, Stage, advice, battery};
use lb_sim::scenario::{Expectation, Metric};

use crate::cli::World;
use crate::{Watch, print};
use crate::{html, parallel};

/// What a service level that is missed says to a shell.
const MISSED: u8 = 131;
/// What a broken invariant says.
const BROKEN: u8 = 129;

/// A level that was missed: in which case, under which seed, and what there was instead.
#[derive(Debug)]
pub(crate) struct Missed {
    case: &'static str,
    level: String,
    found: f64,
    is_latency: bool,
}

impl fmt::Display for Missed {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "  MISSED  {}: {}", self.case, self.said())
    }
}

impl Missed {
    /// In words.
    pub(crate) fn said(&self) -> String {
        let Self { level, found, is_latency, .. } = self;
        let unit = if *is_latency { " ms" } else { "" };
        format!("{level}: it is {found:.4}{unit}")
    }
}

/// What became of a case under all seeds.
struct Done {
    outlook: Outlook,
    missed: Vec<Missed>,
    picture: Option<Picture>,
}

pub(crate) fn check(
    file: &Path,
    service: Option<&str>,
    seeds: u64,
    world: &World,
) -> Result<ExitCode, String> {
    let config = read(file)?;
    let names: Vec<&str> = config.services.iter().map(|it| it.core.name.as_str()).collect();
    if let Some(name) = service.filter(|name| !names.contains(name)) {
        return Err(format!("there is no service {name:?}; there are {}", names.join(", ")));
    }
    let (mut broken, mut missed, mut sections) = (false, false, Vec::new());
    for (index, name) in names.iter().enumerate() {
        if service.is_some_and(|only| only != *name) {
            continue;
        }
        let stage = Stage::new(&config, file, index, &world.setting());
        about_somebody(&stage, &world.slo)?;
        let battery = battery(&stage);
        let done = rehearse(&stage, &battery.cases, seeds, world);
        broken |= done.iter().any(|done| !done.outlook.broken.is_empty());
        missed |= done.iter().any(|done| !done.missed.is_empty());
        if world.html.file.is_some() {
            sections.push(section(&stage, &battery, &done, (seeds, world)));
        }
        print(&told(&stage, battery, done, (seeds, world)));
    }
    if let Some(path) = &world.html.file {
        let name = file.display().to_string();
        html::write(path, &page::check::page(&name, &sections, &html::again()))?;
    }
    Ok(exit(broken, missed))
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
    let text = fs::read_to_string(file).map_err(|error| format!("{name}: {error}"))?;
    let (config, diagnostics) = lb_config::load(&lb_config::Source { name: &name, text: &text });
    let lines: Vec<String> = diagnostics.iter().map(ToString::to_string).collect();
    config.ok_or_else(|| lines.join("\n"))
}

/// Refuses a level about a backend that the service does not have: it would always hold.
pub(crate) fn about_somebody(stage: &Stage, levels: &[Expectation]) -> Result<(), String> {
    for level in levels {
        if let Metric::Share(origin) = &level.metric
            && stage.scenario.place(origin).is_none()
        {
            let (text, name) = (&level.text, stage.name());
            return Err(format!("{text:?}: service {name} has no backend at {origin}"));
        }
    }
    Ok(())
}

/// Runs all cases, on all cores.
fn rehearse(stage: &Stage, cases: &[Case], seeds: u64, world: &World) -> Vec<Done> {
    let watch = Watch::start();
    let mut all = BTreeMap::new();
    let one = |at: usize| {
        let (case, mut outlook, mut missed) = (&cases[at], Outlook::none(), Vec::new());
        let mut picture = None;
        for seed in 1..=seeds {
            let run = model::run(&case.scenario, seed);
            outlook.add(stage, case, seed, &run);
            miss(&mut missed, case, &run, &world.slo);
            if seed == 1 && world.html.file.is_some() {
                picture = Some(Picture::of(case, &run));
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
pub(crate) fn miss(missed: &mut Vec<Missed>, case: &Case, run: &Run, levels: &[Expectation]) {
    if levels.is_empty() {
        return;
    }
    let facts = Facts::of(&case.scenario, &run.log);
    for level in levels {
        let measure = facts.measure(&case.scenario, &case.span(level.phase));
        let found = measure.of(&level.metric, &case.scenario);
        let known = missed.iter().any(|it| it.level == level.text);
        if let Some(found) = found.filter(|found| !level.holds(*found) && !known) {
            let (level, is_latency) = (level.text.clone(), level.is_latency());
            missed.push(Missed { case: case.name, level, found, is_latency });
        }
    }
}

/// A service's part of the page.
fn section(
    stage: &Stage,
    battery: &Battery,
    done: &[Done],
    (seeds, world): (u64, &World),
) -> Section {
    let rehearsed = done.iter().map(|done| Rehearsed {
        outlook: &done.outlook,
        missed: done.missed.iter().map(Missed::said).collect(),
        picture: done.picture.as_ref(),
    });
    let (rehearsed, setting) = (rehearsed.collect(), &world.setting());
    Checked { stage, battery, rehearsed, setting, seeds }.section()
}

/// A line that is written over, for somebody who watches.
fn progress(done: usize, all: usize, took: Duration) {
    let mut out = std::io::stderr();
    if out.is_terminal() {
        let left = took.mul_f64((all - done) as f64 / done as f64).as_secs();
        let _closed = write!(out, "\r{done} of {all} cases, {left} s left   \r");
    }
}

fn told(stage: &Stage, battery: Battery, done: Vec<Done>, (seeds, world): (u64, &World)) -> String {
    let mut out = String::new();
    let Setting { rate, load, latency } = world.setting();
    let _infallible = writeln!(
        out,
        "service {}: {} backends, {rate} requests/s, {:.0} ms to answer, {:.0} % busy, {} seeds\n",
        stage.name(),
        stage.origins.len(),
        latency.mean().as_secs_f64() * 1_000.0,
        load * 100.0,
        seeds,
    );
    for note in &stage.notes {
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
            let _infallible = writeln!(out, "  BROKEN  {}: {broken}", case.name);
        }
        for missed in &done.missed {
            let _infallible = writeln!(out, "{missed}");
        }
    }
    let service = &stage.scenario.config.services[stage.service].core;
    let cases: Vec<(Case, Outlook)> =
        cases.into_iter().map(|(case, done)| (case, done.outlook)).collect();
    let findings = advice(service, &cases);
    if findings.is_empty() {
        out += "  nothing to change was found\n";
    }
    for Finding { case, what, remedy } in findings {
        let _infallible = writeln!(out, "  {case}: {what};\n    {remedy}");
    }
    for skipped in battery.skipped {
        let _infallible = writeln!(out, "  not rehearsed: {}: {}", skipped.name, skipped.why);
    }
    out + "\n"
}

const HEAD: &str = "  \
     case                     errors      p50       p99     p99.9   asked   left    back   hottest  least\n";
const LEGEND: &str = "  \
     From the trouble's beginning on: errors and latencies of clients. Meanwhile: requests to backends for \
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
    let mark = if done.missed.is_empty() && it.broken.is_empty() { ' ' } else { '✗' };
    format!(
        "{mark} {:<20} {:>8.3} %  {:>8}  {:>8}  {:>8}  {:>5.2}  {:>6}  {:>6}  {:>6}  {:>6}\n",
        case.name,
        it.error_ratio * 100.0,
        ms(it.p50),
        ms(it.p99),
        ms(it.p999),
        it.amplification,
        span(it.detect),
        span(it.recover),
        factor(it.hottest, it.hottest > 0.0),
        factor(it.starved, true),
    )
}
