//! What a person reads of a run: what happened second by second, and what it comes to.

use std::fmt::Write;
use std::time::Duration;

use lb_config::quantity::show_duration;
use lb_core::{BreakerState, Event};

use crate::engine::{Engine, Run};
use crate::invariant::Kind;
use crate::log::What;
use crate::measure::{Facts, Measure, origin_of, seconds};
use crate::scenario::{Fault, FaultKind, Scenario};
use crate::verdict::{Expected, Verdict};

/// The timeline of a run: a line per second, with a mark and a share for each origin.
pub fn timeline(scenario: &Scenario, run: &Run) -> String {
    let mut out = String::new();
    let facts = Facts::of(scenario, &run.log);
    let all = Duration::ZERO..scenario.duration;
    let moves = moves(scenario, run);
    out += "   second   requests  errors  retries     p99";
    let names = scenario.names();
    for name in &names {
        put(&mut out, format_args!("  {name:>CELL$}"));
    }
    out += "\n";
    for second in seconds(&all) {
        let measure = facts.measure(scenario, &second);
        let [requests, errors, retries] = [measure.requests, measure.errors, measure.retries];
        put(&mut out, format_args!("  {:>6}s   {requests:>8}", second.start.as_secs()));
        put(&mut out, format_args!("  {errors:>6}  {retries:>7}"));
        let p99 = measure.latency_ms(0.99).map_or("-   ".to_owned(), |p99| format!("{p99:.0} ms"));
        put(&mut out, format_args!("  {p99:>7}"));
        for (place, name) in names.iter().enumerate() {
            let (pad, cell) =
                (name.len().max(CELL) - CELL, cell(scenario, &moves, place, &measure, &second));
            put(&mut out, format_args!("  {:pad$}{cell}", ""));
        }
        for fault in &scenario.faults {
            for (when, word) in [(fault.at, "begins"), (fault.end(), "ends")] {
                if second.contains(&when) {
                    put(&mut out, format_args!("  ◂ {} {word}", described(scenario, fault)));
                }
            }
        }
        for action in scenario.actions.iter().filter(|action| second.contains(&action.at)) {
            put(&mut out, format_args!("  ◂ {}", action.kind.as_str()));
        }
        out += "\n";
    }
    out += "  ● closed  ○ open  ◐ half-open, at the second's end; ! a fault lasts\n";
    out
}

/// Characters of a cell.
const CELL: usize = 11;

/// What an origin did in a second: fault, breaker, and its share of the attempts as a bar.
fn cell(
    scenario: &Scenario,
    moves: &[Moved],
    place: usize,
    measure: &Measure,
    second: &std::ops::Range<Duration>,
) -> String {
    let faulty = scenario
        .faults
        .iter()
        .any(|fault| fault.origin == place && fault.at < second.end && fault.end() > second.start);
    let state = match breaker(moves, place, second.end) {
        BreakerState::Closed => '●',
        BreakerState::Open => '○',
        BreakerState::HalfOpen => '◐',
    };
    let share = measure.share(Some(place)).unwrap_or_default();
    let bar: String = (1..=4_u8)
        .map(|step| if share * 4.0 >= f64::from(step) - 0.5 { '▮' } else { '▯' })
        .collect();
    let mark = if faulty { '!' } else { ' ' };
    format!("{mark}{state}{bar} {:>3.0}%", share * 100.0)
}

/// When the breaker of which origin moved, and to what.
type Moved = (Duration, usize, BreakerState);

/// All moves of breakers: few, where a log is long and every cell would have to read it.
fn moves(scenario: &Scenario, run: &Run) -> Vec<Moved> {
    let moved = run.log.iter().filter_map(|entry| match entry.what {
        What::Core(Event::BreakerMoved { backend, to, .. }) => {
            Some((entry.at, origin_of(scenario, backend), to))
        }
        _ => None,
    });
    moved.collect()
}

/// Where the breaker of an origin was at a time.
fn breaker(moves: &[Moved], place: usize, at: Duration) -> BreakerState {
    let before = moves.iter().take_while(|(when, ..)| *when < at);
    let last = before.filter(|(_, origin, _)| *origin == place).last();
    last.map_or(BreakerState::Closed, |(.., to)| *to)
}

/// What is wrong, and with whom.
pub(crate) fn described(scenario: &Scenario, fault: &Fault) -> String {
    format!("{} at {}", kind_of(fault), scenario.name_of(fault.origin))
}

/// What is wrong.
pub(crate) fn kind_of(fault: &Fault) -> String {
    let how = match fault.kind {
        FaultKind::Status { code, rate, .. } => format!(" {code} for {:.0}%", rate * 100.0),
        FaultKind::Slow { by } => format!(" by {}", show_duration(by)),
        FaultKind::Brownout { speed } => format!(" to {:.0}%", speed * 100.0),
        FaultKind::Shrink { concurrency } => format!(" to {concurrency}"),
        FaultKind::Trickle { over } => format!(" over {}", show_duration(over)),
        FaultKind::Reset { rate } => format!(" for {:.0}%", rate * 100.0),
        FaultKind::Flap { period } => format!(" every {}", show_duration(period)),
        FaultKind::Goaway { requests } => format!(" after {requests} requests"),
        FaultKind::RefusedStream { rate } => format!(" for {:.0}%", rate * 100.0),
        FaultKind::CloseIdle { after } => format!(" after {}", show_duration(after)),
        _ => String::new(),
    };
    format!("{}{how}", fault.kind.as_str())
}

/// What a run comes to, and how to see it again.
pub fn verdict(scenario: &Scenario, verdict: &Verdict, engine: Engine) -> String {
    let mut out = String::new();
    out += "\n  invariants                                 checks\n";
    for finding in &verdict.findings {
        let mark = match (finding.violations.is_empty(), finding.checks) {
            (true, 0) => '·',
            (true, _) => '✓',
            (false, _) => '✗',
        };
        put(&mut out, format_args!("  {mark} {:<40} {:>7}\n", finding.name, finding.checks));
        for violation in &finding.violations {
            put(&mut out, format_args!("      at {}: {}\n", show(violation.at), violation.what));
        }
    }
    if !verdict.expected.is_empty() {
        out += "\n  expectations                               checks\n";
    }
    for Expected { text, checks, broken, is_latency, .. } in &verdict.expected {
        let mark = if broken.is_none() && *checks > 0 { '✓' } else { '✗' };
        put(&mut out, format_args!("  {mark} {text:<40} {checks:>7}\n"));
        if let Some((at, measured)) = broken {
            let unit = if *is_latency { " ms" } else { "" };
            put(&mut out, format_args!("      from {} on: {measured:.4}{unit}\n", show(*at)));
        } else if *checks == 0 {
            out += "      there was nothing to look at\n";
        }
    }
    for (fault, bit) in scenario.faults.iter().zip(&verdict.bit) {
        let (mark, word) = if *bit { ('✓', "bit") } else { ('✗', "was noticed by nobody") };
        put(&mut out, format_args!("  {mark} {} {word}\n", described(scenario, fault)));
    }
    for (attack, repelled) in scenario.attacks.iter().zip(&verdict.repelled) {
        let (mark, word) = if *repelled { ('✓', "cut off") } else { ('✗', "let be") };
        let at = show_duration(attack.at);
        put(&mut out, format_args!("  {mark} rapid_reset at {at} was {word}\n"));
    }
    for (action, met) in scenario.actions.iter().zip(&verdict.met) {
        let (mark, word) = if *met { ('✓', "met requests") } else { ('✗', "met nobody") };
        let (kind, at) = (action.kind.as_str(), show_duration(action.at));
        put(&mut out, format_args!("  {mark} {kind} at {at} {word}\n"));
    }
    if verdict.attempts == 0 {
        out += "  ✗ no request reached an origin\n";
    }
    if verdict.findings.iter().any(|it| it.checks == 0) {
        out += "  · had nothing to check this time\n";
    }
    let missing = verdict.missing(scenario);
    if !missing.is_empty() {
        put(&mut out, format_args!("  – not reached this time: {}\n", missing.join(", ")));
    }
    if let Some(panic) = &verdict.panic {
        put(&mut out, format_args!("  ✗ {panic}\n"));
    }
    if let Some(hash) = verdict.trace_hash {
        put(&mut out, format_args!("\n  trace {hash:016x}\n"));
    }
    put(&mut out, format_args!("{}", conclusion(scenario, verdict, engine)));
    out
}

/// The last lines: whether all is well, and if not, how to see it again.
fn conclusion(scenario: &Scenario, verdict: &Verdict, engine: Engine) -> String {
    let mut out = String::new();
    match verdict.class() {
        None => put(&mut out, format_args!("  PASS  {}\n", scenario.claim)),
        Some(class) => {
            put(&mut out, format_args!("  FAIL  {}: {}\n", class.as_str(), scenario.claim));
            put(&mut out, format_args!("  seed {}: {}\n", verdict.seed, failures(verdict)));
            let again = engine.again(&scenario.file, verdict.seed);
            put(&mut out, format_args!("  again: {again}\n"));
        }
    }
    out
}

/// The names of what did not hold.
pub fn failures(verdict: &Verdict) -> String {
    let findings = verdict.findings.iter().filter(|it| !it.violations.is_empty());
    let kind = |kind| if kind == Kind::Safety { "invariant" } else { "liveness" };
    let findings = findings.map(|it| format!("{} \"{}\"", kind(it.kind), it.name));
    let expected = verdict.expected.iter().filter(|it| it.broken.is_some() || it.checks == 0);
    let expected = expected.map(|it| format!("expectation \"{}\"", it.text));
    let bit = verdict.bit.iter().zip(0..).filter(|(bit, _)| !**bit);
    let bit = bit.map(|(_, place): (_, usize)| format!("fault {} never bit", place + 1));
    let met = verdict.met.iter().zip(1..).filter(|(met, _)| !**met);
    let met = met.map(|(_, place): (_, usize)| format!("action {place} met nobody"));
    let repelled = verdict.repelled.iter().zip(1..).filter(|(repelled, _)| !**repelled);
    let repelled = repelled.map(|(_, place): (_, usize)| format!("attack {place} was let be"));
    let panic = verdict.panic.iter().map(|_| "a panic".to_owned());
    let idle = (verdict.attempts == 0).then(|| "no request reached an origin".to_owned());
    findings
        .chain(expected)
        .chain(bit)
        .chain(met)
        .chain(repelled)
        .chain(idle)
        .chain(panic)
        .collect::<Vec<_>>()
        .join(", ")
}

/// A time of the run.
fn show(at: Duration) -> String {
    format!("{:.3}s", at.as_secs_f64())
}

fn put(out: &mut String, what: std::fmt::Arguments<'_>) {
    out.write_fmt(what).expect("writing to a string cannot fail");
}
