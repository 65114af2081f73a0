//! Two configurations on the same arrivals with the same dice: what changes for clients, and how surely.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::ops::RangeInclusive;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::Args;
use lb_sim::page::diff::Difference;
use lb_sim::rehearsal::{Broken, Case, Outlook, Stage, battery};
use lb_sim::scenario::Expectation;
use lb_sim::{model, parallel};

use crate::check::{Missed, counted, exit, looks_at_something, miss, read};
use crate::cli::{World, few_seeds};
use crate::html::{self, Html};
use crate::print;

/// What is compared, and under which seeds.
#[derive(Debug, Args)]
pub(crate) struct Diff {
    /// The one that is served
    old: PathBuf,
    /// The one that is to be
    new: PathBuf,
    /// How many seeds each case is run under, 2 or more, or from which to which
    #[arg(long, default_value = "10", value_name = "N|A..B", value_parser = few_seeds)]
    seeds: RangeInclusive<u64>,
    #[command(flatten)]
    world: World,
    #[command(flatten)]
    html: Html,
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

const NUMBERS: [Number; 6] = [
    Number { name: "errors", of: |it| it.error_ratio, times: 100.0, digits: 3, unit: " %" },
    Number { name: "429", of: |it| it.limited, times: 100.0, digits: 3, unit: " %" },
    Number { name: "p50", of: |it| it.p50, times: 1.0, digits: 1, unit: " ms" },
    Number { name: "p99", of: |it| it.p99, times: 1.0, digits: 1, unit: " ms" },
    Number { name: "p99.9", of: |it| it.p999, times: 1.0, digits: 1, unit: " ms" },
    Number { name: "asked", of: |it| it.amplification, times: 1.0, digits: 2, unit: "" },
];

/// A difference smaller than this part of what there was is nobody's business.
const NEGLIGIBLE: f64 = 0.01;

/// The same case under both, seed by seed, and the levels that it misses under the new one.
pub(crate) struct Compared {
    pub(crate) case: &'static str,
    pub(crate) asks: &'static str,
    pub(crate) pairs: Vec<(Outlook, Outlook)>,
    pub(crate) missed: Vec<Missed>,
}

pub(crate) fn diff(diff: &Diff) -> Result<ExitCode, String> {
    let Diff { old: old_file, new: new_file, seeds, world, .. } = diff;
    if seeds.start() == seeds.end() {
        return Err(
            "--seeds: chance cannot be told from change in one pair; write 2 or more".into()
        );
    }
    let (old, new) = (read(old_file)?, read(new_file)?);
    let page = diff.html.open(&[old_file, new_file])?;
    let (mut broken, mut missed) = (false, false);
    let (mut out, mut services) = (String::new(), Vec::new());
    for (at, said) in new.services.iter().enumerate() {
        let name = &said.core.name;
        let Some(before) = old.services.iter().position(|it| it.core.name == *name) else {
            let _infallible = writeln!(out, "service {name} is new: lb-sim check tells of it");
            // What is not looked at cannot be said to hold.
            missed |= !world.slo.is_empty();
            let misses = unrehearsed(&world.slo);
            misses.iter().for_each(|what| out += &format!("  MISSED  {what}\n"));
            out += "\n";
            let note = "It is new: lb-sim check tells of it.";
            services.push(html::of_one(name, note, misses));
            continue;
        };
        let before = world.stage(&old, old_file, before);
        let after = world.after(&before, (&new, new_file), at);
        let stages = [before, after];
        looks_at_something(&stages[1], &world.slo)?;
        let [befores, afters] = stages.each_ref().map(|stage| battery(stage).cases);
        let after_of = |name| afters.iter().find(|case: &&Case| case.name == name);
        let both: Vec<(&Case, &Case)> =
            befores.iter().filter_map(|case| Some((case, after_of(case.name)?))).collect();
        let all = run(&stages, &both, seeds, &world.slo);
        out += &head(diff, &stages);
        let notes = notes(&stages);
        notes.iter().for_each(|note| out += &format!("  {note}\n"));
        out += &table(&all);
        services.push(html::of_both(&stages, &notes, &all));
        for Compared { case, pairs, missed: misses, .. } in &all {
            for (when, it) in pairs.iter().flat_map(|(old, new)| [("before", old), ("after", new)])
            {
                for Broken { seed, what } in &it.broken {
                    broken = true;
                    let _infallible =
                        writeln!(out, "  BROKEN  {case}, {when}, seed {seed}: {what}");
                }
            }
            for what in misses {
                missed = true;
                let _infallible = writeln!(out, "  MISSED  {what} after");
            }
        }
        out += "\n";
    }
    for gone in old.services.iter().map(|it| &it.core.name) {
        if !new.services.iter().any(|it| it.core.name == *gone) {
            let _infallible = writeln!(out, "service {gone} is gone");
            services.push(html::of_one(gone, "It is gone.", Vec::new()));
        }
    }
    print(&out)?;
    if let Some(page) = page {
        page.write(&html::of_diff([old_file, new_file], seeds, &services))?;
    }
    Ok(exit(broken, missed))
}

/// What of a service is compared.
fn head(diff: &Diff, stages: &[Stage; 2]) -> String {
    let Diff { old, new, seeds, .. } = diff;
    let [before, after] = stages;
    let (old, new, seeds) = (old.display(), new.display(), counted(seeds.clone().count(), "seed"));
    format!(
        "service {}: {old} before, {new} after; {}; {seeds}, 95 % intervals of the paired \
         difference\n\n",
        after.name(),
        World::told(&[before, after]),
    )
}

/// What is to be known of either, once.
fn notes([before, after]: &[Stage; 2]) -> Vec<String> {
    let fresh = after.notes.iter().filter(|note| !before.notes.contains(note));
    before.notes.iter().chain(fresh).cloned().collect()
}

/// What is said of levels of a service that is new.
fn unrehearsed(levels: &[Expectation]) -> Vec<String> {
    levels.iter().map(|level| format!("{}: nothing of it was rehearsed", level.text)).collect()
}

fn run(
    stages: &[Stage; 2],
    both: &[(&Case, &Case)],
    seeds: &RangeInclusive<u64>,
    levels: &[Expectation],
) -> Vec<Compared> {
    let mut all = BTreeMap::new();
    let one = |at: usize| {
        let (before, after) = both[at];
        let (mut pairs, mut missed) = (Vec::new(), Vec::new());
        for seed in seeds.clone() {
            let mut pair = (Outlook::none(), Outlook::none());
            let (verdict, facts) = model::measured(&before.scenario, seed);
            pair.0.add(&stages[0], before, &verdict, &facts);
            let (verdict, facts) = model::measured(&after.scenario, seed);
            pair.1.add(&stages[1], after, &verdict, &facts);
            miss(&mut missed, after, (&verdict, &facts), levels);
            pairs.push(pair);
        }
        Compared { case: after.name, asks: after.asks, pairs, missed }
    };
    parallel::each(both.len(), None, one, |at, compared| drop(all.insert(at, compared)));
    all.into_values().collect()
}

/// All numbers of a case; none where there are too few seeds to say anything.
pub(crate) fn differences(pairs: &[(Outlook, Outlook)]) -> Vec<Difference> {
    let compare = |number: Number| {
        let Number { name, of, times, digits, unit } = number;
        let before = mean(pairs.iter().map(|it| of(&it.0)));
        let after = mean(pairs.iter().map(|it| of(&it.1)));
        let (low, high) = interval(pairs.iter().map(|it| of(&it.1) - of(&it.0)))?;
        let is_sure = low > 0.0 || high < 0.0;
        let is_large = (after - before).abs() > NEGLIGIBLE * before.abs().max(after.abs());
        Some(Difference {
            name,
            means: (before * times, after * times),
            interval: (low * times, high * times),
            digits,
            unit,
            matters: is_sure && is_large,
        })
    };
    NUMBERS.into_iter().filter_map(compare).collect()
}

/// Only what differs, and surely.
fn table(all: &[Compared]) -> String {
    let mut out = String::new();
    for Compared { case, pairs, .. } in all {
        for it in differences(pairs).into_iter().filter(|it| it.matters) {
            let Difference { name, means: (before, after), interval: (low, high), .. } = it;
            let Difference { digits, unit, .. } = it;
            let _infallible = writeln!(
                out,
                "  {:<20} {name:<7} {:>10} -> {:>10}   {:+.digits$} to {:+.digits$}{unit}",
                case,
                format!("{before:.digits$}{unit}"),
                format!("{after:.digits$}{unit}"),
                low,
                high,
            );
        }
    }
    match out.is_empty() {
        true => "  nothing differs beyond chance\n".to_owned(),
        false => out,
    }
}

fn mean(all: impl ExactSizeIterator<Item = f64>) -> f64 {
    let count = all.len() as f64;
    all.sum::<f64>() / count
}

/// Student's 95 % interval of the mean; `None`: there are too few to say anything.
pub(crate) fn interval(all: impl ExactSizeIterator<Item = f64>) -> Option<(f64, f64)> {
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
