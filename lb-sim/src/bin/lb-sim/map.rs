//! Where a configuration comes back from trouble by itself, and where it does not.

use std::collections::BTreeMap;
use std::fmt::{self, Write};
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use clap::{Args, ValueEnum};
use lb_config::quantity::{self, show_duration};
use lb_sim::page::map::{Scale, Sheet};
use lb_sim::parallel;
use lb_sim::rehearsal::map::{Axis, Fate, Patience, Spot, Trigger, WATCHED, fate, scenario};
use lb_sim::rehearsal::{Setting, Stage};
use lb_sim::scenario::{Again, Latency};

use crate::check::{MISSED, chosen, progress, read};
use crate::cli::{SIGMA, in_words, latency, percent, rate};
use crate::html::{self, Html};
use crate::{Watch, print};

/// What is mapped.
#[derive(Debug, Args)]
pub(crate) struct Map {
    /// The configuration of lb-server
    file: PathBuf,
    /// The service; by default the first
    #[arg(long)]
    service: Option<String>,
    /// What varies from left to right
    #[arg(long, value_enum, default_value = "load")]
    x: AxisName,
    /// What varies from top to bottom
    #[arg(long, value_enum, default_value = "size")]
    y: AxisName,
    /// What goes wrong: every backend loses this share of its speed, this share of the backends stops, or
    /// this share of the answers is 503
    #[arg(long, value_enum, default_value = "brownout")]
    trigger: TriggerName,
    /// The load where it does not vary, in percent of what backends can carry; by default 50
    #[arg(long, value_parser = percent)]
    load: Option<f64>,
    /// The size of the trouble where it does not vary, in percent; by default 80
    #[arg(long, value_parser = percent)]
    size: Option<f64>,
    /// How long the trouble lasts where that does not vary; by default 10s
    #[arg(long, value_parser = lasting)]
    lasts: Option<Duration>,
    /// Requests per second that backends can carry, or a little more: nobody works on half a request
    #[arg(long, default_value_t = 400.0, value_parser = rate)]
    capacity: f64,
    /// How long backends take to answer: the median of a lognormal distribution
    #[arg(long, default_value = "20ms", value_parser = latency)]
    latency: Duration,
    /// After this long a client hangs up, and asks again half a second later
    #[arg(long, default_value = "2s", value_parser = latency)]
    patience: Duration,
    /// How often it asks again
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u8).range(0..=10))]
    tries: u8,
    /// Seeds that each cell is run under; the worst counts
    #[arg(long, default_value_t = 2, value_parser = clap::value_parser!(u64).range(1..=100))]
    seeds: u64,
    /// Exit with 131 unless it comes back from all trouble on the map up to this load, in percent
    #[arg(long, value_parser = percent)]
    stable: Option<f64>,
    #[command(flatten)]
    html: Html,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum AxisName {
    /// The share of what backends can carry that is asked of them
    Load,
    /// How hard the trouble is
    Size,
    /// How long it lasts
    Lasts,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum TriggerName {
    Brownout,
    Refuse,
    Status,
}

impl From<AxisName> for Axis {
    fn from(name: AxisName) -> Self {
        match name {
            AxisName::Load => Self::Load,
            AxisName::Size => Self::Size,
            AxisName::Lasts => Self::Lasts,
        }
    }
}

/// The steps of an axis: loads and sizes in percent, and seconds.
const LOADS: [f64; 12] = [10., 20., 30., 40., 50., 60., 70., 75., 80., 85., 90., 95.];
const SIZES: [f64; 8] = [100., 95., 90., 80., 70., 50., 30., 10.];
const LASTS: [f64; 8] = [30., 20., 15., 10., 7., 5., 3., 1.];

fn lasting(text: &str) -> Result<Duration, String> {
    let span = quantity::duration(text).map_err(in_words)?;
    let range = Duration::from_secs(1)..=Duration::from_secs(60);
    range.contains(&span).then_some(span).ok_or_else(|| "write 1s to 60s".to_owned())
}

pub(crate) fn map(args: &Map) -> Result<ExitCode, String> {
    let (x, y) = (Axis::from(args.x), Axis::from(args.y));
    if x == y {
        return Err("--x and --y are the same; let one be load, size or lasts".to_owned());
    }
    if args.stable.is_some() && ![x, y].contains(&Axis::Load) {
        return Err("--stable asks about loads: let --x or --y be load".to_owned());
    }
    if let Some(axis) = [x, y].into_iter().find(|axis| args.fixes(*axis)) {
        let (axis, word) = (if axis == x { "--x" } else { "--y" }, word(axis));
        return Err(format!("--{word} says nothing where {axis} is {word}: it varies there"));
    }
    let config = read(&args.file)?;
    let page = args.html.open(&[&args.file])?;
    let service = chosen(&config, args.service.as_deref())?;
    let latency = Latency::Lognormal { median: args.latency, sigma: SIGMA };
    let setting = Setting { rate: args.capacity, latency, load: 1.0 };
    let stage = Stage::new(&config, &args.file, service, &setting);
    let again = Again { tries: args.tries, after: Duration::from_millis(500) };
    let patience = Patience { timeout: args.patience, again };
    let trigger = match args.trigger {
        TriggerName::Brownout => Trigger::Brownout,
        TriggerName::Refuse => Trigger::Refuse,
        TriggerName::Status => Trigger::Status,
    };
    let (columns, rows) = (args.steps(x), args.steps(y));
    let cells = rows.iter().flat_map(|row| {
        let cell = move |column: &f64| Cell([(x, *column), (y, *row)]);
        columns.iter().map(cell)
    });
    let cells: Vec<Cell> = cells.collect();
    let watch = Watch::start();
    let mut fates = BTreeMap::new();
    let one = |at: usize| {
        let spot = args.spot(cells[at]);
        let fate = fate(&scenario(&stage, trigger, patience, spot), spot.lasts, 1..=args.seeds);
        fate.map_err(|why| format!("{}: {why}", cells[at]))
    };
    parallel::each(cells.len(), None, one, |at, fate| {
        fates.insert(at, fate);
        progress(fates.len(), cells.len(), watch.took());
    });
    let fates = fates.into_values().collect::<Result<Vec<Fate>, String>>()?;
    let loads: Vec<f64> = cells.iter().map(|cell| args.step(*cell, Axis::Load)).collect();
    let stable = stable(&loads, &fates);
    let sheet = args.sheet(&stage, (x, y), fates, stable);
    let notes: String = stage.notes.iter().map(|note| format!("  {note}\n")).collect();
    print(&(notes + &told(&sheet)))?;
    if let Some(page) = page {
        page.write(&sheet.page(&args.file.display().to_string(), &html::again()))?;
    }
    Ok(if sheet.is_missed { ExitCode::from(MISSED) } else { ExitCode::SUCCESS })
}

/// What is tried in a cell, from left to right and from top to bottom, each in the unit of its steps
/// and as it was written: hundredths are not exact.
#[derive(Clone, Copy)]
struct Cell([(Axis, f64); 2]);

impl fmt::Display for Cell {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [one, other] =
            self.0.map(|(axis, step)| format!("{} {step}{}", word(axis), unit(axis)));
        write!(out, "{one}, {other}")
    }
}

/// The largest load up to which everything was recovered from. By cell: its load, and its fate.
fn stable(loads: &[f64], fates: &[Fate]) -> Option<f64> {
    let stuck =
        |(load, fate): (&f64, &Fate)| (!matches!(fate, Fate::Recovered(_))).then_some(*load);
    let first = loads.iter().zip(fates).filter_map(stuck).fold(f64::INFINITY, f64::min);
    loads.iter().copied().filter(|load| *load < first).reduce(f64::max)
}

impl Map {
    /// Whether somebody said what stays the same along all of an axis.
    const fn fixes(&self, axis: Axis) -> bool {
        match axis {
            Axis::Load => self.load.is_some(),
            Axis::Size => self.size.is_some(),
            Axis::Lasts => self.lasts.is_some(),
        }
    }

    /// What holds where it does not vary, in the unit of its steps.
    fn still(&self, axis: Axis) -> f64 {
        match axis {
            Axis::Load => self.load.unwrap_or(50.0),
            Axis::Size => self.size.unwrap_or(80.0),
            Axis::Lasts => self.lasts.map_or(10.0, |span| span.as_secs_f64()),
        }
    }

    /// What is tried along an axis. A load that has to be safe is tried itself.
    fn steps(&self, axis: Axis) -> Vec<f64> {
        let mut steps = match axis {
            Axis::Load => LOADS.to_vec(),
            Axis::Size => SIZES.to_vec(),
            Axis::Lasts => LASTS.to_vec(),
        };
        if let (Axis::Load, Some(wanted)) = (axis, self.stable) {
            steps.push(wanted);
            steps.sort_by(f64::total_cmp);
            steps.dedup();
        }
        steps
    }

    /// What an axis has in a cell, in the unit of its steps.
    fn step(&self, cell: Cell, axis: Axis) -> f64 {
        let varies = cell.0.into_iter().find(|(on, _)| *on == axis);
        varies.map_or_else(|| self.still(axis), |(_, step)| step)
    }

    fn spot(&self, cell: Cell) -> Spot {
        Spot {
            load: self.step(cell, Axis::Load) / 100.0,
            size: self.step(cell, Axis::Size) / 100.0,
            lasts: Duration::from_secs_f64(self.step(cell, Axis::Lasts)),
        }
    }

    fn sheet(
        &self,
        stage: &Stage,
        (x, y): (Axis, Axis),
        fates: Vec<Fate>,
        stable: Option<f64>,
    ) -> Sheet {
        let trouble = match self.trigger {
            TriggerName::Brownout => "every backend loses a share of its speed",
            TriggerName::Refuse => "a share of the backends stops",
            TriggerName::Status => "a share of the answers is 503",
        };
        let (tries, capacity) = (self.tries, stage.capacity());
        let patience = show_duration(self.patience);
        let mut fixed = vec![
            format!("100 % of load is {capacity:.0} requests/s"),
            format!("clients hang up after {patience} and ask {tries} times again"),
        ];
        for axis in [Axis::Load, Axis::Size, Axis::Lasts] {
            let still = self.still(axis);
            if ![x, y].contains(&axis) {
                fixed.push(match axis {
                    Axis::Load => format!("the load is {still} %"),
                    Axis::Size => format!("the size is {still} %"),
                    Axis::Lasts => {
                        format!("it lasts {}", show_duration(Duration::from_secs_f64(still)))
                    }
                });
            }
        }
        let scale = |axis| {
            let steps =
                self.steps(axis).iter().map(|step| format!("{step}{}", unit(axis))).collect();
            Scale { word: word(axis), steps }
        };
        let has_loads = [x, y].contains(&Axis::Load);
        let conclusion = match stable {
            Some(load) if has_loads => {
                format!("it comes back from all of this up to a load of {load} %")
            }
            None if has_loads => {
                "there is no load at which it comes back from all of this".to_owned()
            }
            Some(load) => format!("it comes back from all of this at a load of {load} %"),
            None => "it does not come back from all of this at this load".to_owned(),
        };
        Sheet {
            service: stage.name().to_owned(),
            trouble,
            fixed,
            scales: [scale(x), scale(y)],
            fates,
            conclusion,
            is_missed: self.stable.is_some_and(|wanted| stable.is_none_or(|found| found < wanted)),
            seeds: self.seeds,
        }
    }
}

/// The map as a table.
fn told(sheet: &Sheet) -> String {
    let [columns, rows] = &sheet.scales;
    let mut out =
        format!("service {}: {}; {}\n\n", sheet.service, sheet.trouble, sheet.fixed.join("; "));
    let _infallible = writeln!(out, "  {:>9}    {}", rows.word, columns.word);
    out += "             ";
    for column in &columns.steps {
        let _infallible = write!(out, "{:>6}", column.replace(' ', ""));
    }
    out += "\n";
    for (row, cells) in sheet.rows() {
        let _infallible = write!(out, "  {:>9}  ", row.replace(' ', ""));
        for cell in cells {
            let shown = match cell {
                Fate::Overloaded => "#".to_owned(),
                Fate::Stuck => "✗".to_owned(),
                Fate::Recovered(after) if after.is_zero() => "·".to_owned(),
                Fate::Recovered(after) => format!("{}s", after.as_secs()),
            };
            let _infallible = write!(out, "{shown:>6}");
        }
        out += "\n";
    }
    let watched = WATCHED.as_secs();
    let _infallible = writeln!(
        out,
        "\n  · all is as before at once; 3s: after so long; ✗ not within {watched} s after the trouble is \
         over;\n  # too much, or turned away, without any trouble\n  {}",
        sheet.conclusion,
    );
    out
}

fn unit(axis: Axis) -> &'static str {
    if axis == Axis::Lasts { " s" } else { " %" }
}

fn word(axis: Axis) -> &'static str {
    match axis {
        Axis::Load => "load",
        Axis::Size => "size",
        Axis::Lasts => "lasts",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_load_is_compared_as_it_was_written() {
        let wanted = percent("33.33333333").expect("a share");
        let fates = [Fate::Recovered(Duration::ZERO), Fate::Recovered(WATCHED), Fate::Stuck];
        assert_eq!(stable(&[10.0, wanted, 90.0], &fates), Some(wanted));
        assert_eq!(stable(&[10.0, wanted, 10.0], &fates), None);
    }
}
