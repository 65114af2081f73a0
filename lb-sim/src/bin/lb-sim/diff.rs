//! Two configurations on the same arrivals with the same dice: what changes for clients, and how surely.

use std::fmt::Write;
use std::path::Path;
use std::process::ExitCode;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::sync_channel;

use lb_sim::model;
use lb_sim::rehearsal::{Case, Outlook, Setting, Stage, battery};
use lb_sim::scenario::Expectation;

use crate::check::{exit, read};
use crate::print;

/// What is asked of two configurations.
#[derive(Debug)]
pub(crate) struct Asked<'a> {
    pub(crate) old: &'a Path,
    pub(crate) new: &'a Path,
    pub(crate) setting: Setting,
    pub(crate) seeds: u64,
    pub(crate) levels: &'a [Expectation],
}

/// A number of an outlook that is compared.
struct Number {
    name: &'static str,
    of: fn(&Outlook) -> f64,
    /// What it is multiplied with for people, and the digits and the unit they see.
    times: f64,
    digits: usize,
    unit: &'static str,
}

const NUMBERS: [Number; 5] = [
    Number { name: "errors", of: |it| it.error_ratio, times: 100.0, digits: 3, unit: " %" },
    Number { name: "p50", of: |it| it.p50, times: 1.0, digits: 1, unit: " ms" },
    Number { name: "p99", of: |it| it.p99, times: 1.0, digits: 1, unit: " ms" },
    Number { name: "p99.9", of: |it| it.p999, times: 1.0, digits: 1, unit: " ms" },
    Number { name: "asked", of: |it| it.amplification, times: 1.0, digits: 2, unit: "" },
];

/// A difference smaller than this part of what there was is nobody's business.
const NEGLIGIBLE: f64 = 0.01;

/// The same case under both, seed by seed.
type Pairs = Vec<(Outlook, Outlook)>;

pub(crate) fn diff(asked: &Asked<'_>) -> Result<ExitCode, String> {
    let (old, new) = (read(asked.old)?, read(asked.new)?);
    let (mut broken, mut missed) = (false, false);
    let mut out = String::new();
    for (at, said) in new.services.iter().enumerate() {
        let name = &said.core.name;
        let Some(before) = old.services.iter().position(|it| it.core.name == *name) else {
            let _infallible = writeln!(out, "service {name} is new: lb-sim check tells of it\n");
            // What is not looked at cannot be said to hold.
            missed |= !asked.levels.is_empty();
            continue;
        };
        let stages = [
            Stage::new(&old, asked.old, before, &asked.setting),
            Stage::new(&new, asked.new, at, &asked.setting),
        ];
        let [befores, afters] = stages.each_ref().map(|stage| battery(stage).cases);
        let after_of = |name| afters.iter().find(|case: &&Case| case.name == name);
        let both: Vec<(&Case, &Case)> =
            befores.iter().filter_map(|case| Some((case, after_of(case.name)?))).collect();
        let pairs = run(&stages, &both, asked.seeds);
        let _infallible = writeln!(
            out,
            "service {name}: {} before, {} after; {} seeds, 95 % intervals of the paired difference\n",
            asked.old.display(),
            asked.new.display(),
            asked.seeds,
        );
        out += &table(&both, &pairs);
        for ((case, _), pairs) in both.iter().zip(&pairs) {
            for (when, it) in pairs.iter().flat_map(|(old, new)| [("before", old), ("after", new)])
            {
                for what in &it.broken {
                    broken = true;
                    let _infallible = writeln!(out, "  BROKEN  {}, {when}: {what}", case.name);
                }
            }
        }
        for (case, level, found) in levels(&both, asked) {
            missed = true;
            let _infallible = writeln!(out, "  MISSED  {case}: {level}: it is {found:.4} after");
        }
        out += "\n";
    }
    for gone in old.services.iter().map(|it| &it.core.name) {
        if !new.services.iter().any(|it| it.core.name == *gone) {
            let _infallible = writeln!(out, "service {gone} is gone");
        }
    }
    print(&out);
    Ok(exit(broken, missed))
}

fn run(stages: &[Stage; 2], both: &[(&Case, &Case)], seeds: u64) -> Vec<Pairs> {
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let next = AtomicUsize::new(0);
    let (send, receive) = sync_channel(both.len().max(1));
    let mut all: Vec<Pairs> = both.iter().map(|_| Pairs::new()).collect();
    #[expect(clippy::disallowed_methods, reason = "each run keeps to one thread")]
    std::thread::scope(|scope| {
        for _ in 0..cores {
            let (send, next) = (send.clone(), &next);
            scope.spawn(move || {
                loop {
                    let at = next.fetch_add(1, Ordering::Relaxed);
                    let Some((before, after)) = both.get(at) else { return };
                    let one = |stage, case: &Case, seed| {
                        let mut outlook = Outlook::none();
                        outlook.add(stage, case, seed, &model::run(&case.scenario, seed));
                        outlook
                    };
                    let pairs = (1..=seeds)
                        .map(|seed| (one(&stages[0], before, seed), one(&stages[1], after, seed)));
                    let _nobody_waits = send.send((at, pairs.collect::<Pairs>()));
                }
            });
        }
        drop(send);
        for (at, pairs) in receive {
            all[at] = pairs;
        }
    });
    all
}

/// Only what differs, and surely.
fn table(both: &[(&Case, &Case)], all: &[Pairs]) -> String {
    let mut out = String::new();
    for ((case, _), pairs) in both.iter().zip(all) {
        for Number { name, of, times, digits, unit } in NUMBERS {
            let (before, after) =
                (mean(pairs.iter().map(|it| of(&it.0))), mean(pairs.iter().map(|it| of(&it.1))));
            let Some((low, high)) = interval(pairs.iter().map(|it| of(&it.1) - of(&it.0))) else {
                continue;
            };
            let is_sure = low > 0.0 || high < 0.0;
            let matters = (after - before).abs() > NEGLIGIBLE * before.abs().max(after.abs());
            if is_sure && matters {
                let _infallible = writeln!(
                    out,
                    "  {:<20} {name:<7} {:>10} -> {:>10}   {:+.digits$} to {:+.digits$}{unit}",
                    case.name,
                    format!("{:.digits$}{unit}", before * times),
                    format!("{:.digits$}{unit}", after * times),
                    low * times,
                    high * times,
                );
            }
        }
    }
    match out.is_empty() {
        true => "  nothing differs beyond chance\n".to_owned(),
        false => out,
    }
}

/// Levels that the new configuration misses: the case, the level, and what there was.
fn levels<'a>(both: &[(&Case, &Case)], asked: &Asked<'a>) -> Vec<(&'static str, &'a str, f64)> {
    let mut missed = Vec::new();
    for (_, case) in both.iter().filter(|_| !asked.levels.is_empty()) {
        let run = model::run(&case.scenario, 1);
        let facts = lb_sim::measure::Facts::of(&case.scenario, &run.log);
        for level in asked.levels {
            let measure = facts.measure(&case.scenario, &case.span(level.phase));
            let found = measure.of(&level.metric, &case.scenario);
            missed.extend(
                found
                    .filter(|found| !level.holds(*found))
                    .map(|found| (case.name, level.text.as_str(), found)),
            );
        }
    }
    missed
}

fn mean(all: impl ExactSizeIterator<Item = f64>) -> f64 {
    let count = all.len() as f64;
    all.sum::<f64>() / count
}

/// Student's 95 % interval of the mean; `None`: there are too few to say anything.
fn interval(all: impl ExactSizeIterator<Item = f64>) -> Option<(f64, f64)> {
    let all: Vec<f64> = all.collect();
    let count = all.len();
    let freedom = count.checked_sub(1).filter(|freedom| *freedom > 0)?;
    let middle = mean(all.iter().copied());
    let spread: f64 = all.iter().map(|one| (one - middle) * (one - middle)).sum();
    let error = (spread / freedom as f64 / count as f64).sqrt();
    let half = quantile_of_student(freedom) * error;
    Some((middle - half, middle + half))
}

/// 97.5 % of Student's distribution with so many degrees of freedom lie below it: to within a two-hundredth,
/// by the expansion of Cornish and Fisher around the normal one.
fn quantile_of_student(freedom: usize) -> f64 {
    const EXACT: [f64; 9] = [12.706, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306, 2.262];
    const Z: f64 = 1.959_964;
    if let Some(exact) = EXACT.get(freedom - 1) {
        return *exact;
    }
    let n = freedom as f64;
    let (z3, z5) = (Z.powi(3), Z.powi(5));
    Z + (z3 + Z) / (4.0 * n) + (5.0 * z5 + 16.0 * z3 + 3.0 * Z) / (96.0 * n * n)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn student_is_as_in_tables() {
        for (freedom, said) in [(1, 12.706), (5, 2.571), (9, 2.262), (19, 2.093), (99, 1.984)] {
            let found = quantile_of_student(freedom);
            assert!((found - said).abs() < 0.005, "{freedom}: {found}");
        }
    }

    #[test]
    fn an_interval_holds_the_mean_and_few_say_nothing() {
        let (low, high) = interval([1.0, 2.0, 3.0, 4.0, 5.0].into_iter()).expect("five");
        assert!((low - 1.037).abs() < 0.01 && (high - 4.963).abs() < 0.01, "{low} {high}");
        assert_eq!(interval([1.0].into_iter()), None);
    }
}
