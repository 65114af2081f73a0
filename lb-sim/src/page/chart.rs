//! Geometry: what is drawn, without a word on it.
//!
//! A plot is an SVG that is stretched to the width there is; words stand beside it in HTML, so that they are
//! neither stretched nor too small on a phone. A bin is ten units wide and a plot so many high: whole
//! numbers say it all, and a step costs six bytes.

use std::fmt::Write;

use maud::{Markup, html};

/// Units of a bin's width.
const BIN: usize = 10;
/// Units of a plot's height.
pub(crate) const HIGH: u32 = 200;

/// A plot of so many bins, with what is drawn in it. `label` says it to whoever cannot see it.
pub(crate) fn plot(bins: usize, high: u32, label: &str, drawn: &Markup) -> Markup {
    html! {
        svg viewBox=(format!("0 0 {} {high}", bins * BIN)) preserveAspectRatio="none" role="img" aria-label=(label) {
            title { (label) }
            (drawn)
        }
    }
}

/// An area under steps, of which `top` would fill the plot.
pub(crate) fn area(values: &[f64], top: f64, class: &str) -> Markup {
    let mut path = steps(values.iter().map(|value| Some(*value)), top);
    let _infallible = write!(path, "V{HIGH}H0z");
    html! { path.(class) d=(path) {} }
}

/// A line of steps, which ends where there is no value and goes on where there is one.
pub(crate) fn line(values: &[Option<f64>], top: f64, class: &str) -> Markup {
    let path = steps(values.iter().copied(), top);
    html! { path.(class) d=(path) {} }
}

/// Steps as a path; runs of one height are one step.
fn steps(values: impl Iterator<Item = Option<f64>>, top: f64) -> String {
    let (mut path, mut pen, mut along) = (String::new(), None, 0);
    let heights = values.map(|value| value.map(|value| height(value, top)));
    for (bin, height) in heights.chain([None]).enumerate() {
        if height != pen && along > 0 {
            let _infallible = write!(path, "h{along}");
            along = 0;
        }
        match (pen, height) {
            (Some(pen), Some(height)) if pen != height => {
                let _infallible = write!(path, "V{height}");
            }
            (None, Some(height)) => {
                let _infallible = write!(path, "M{} {height}", bin * BIN);
            }
            _ => {}
        }
        along += if height.is_some() { BIN } else { 0 };
        pen = height;
    }
    path
}

/// How far from the top a value is drawn.
#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "from 0 to 200")]
fn height(value: f64, top: f64) -> u32 {
    let part = if top > 0.0 { (value / top).clamp(0.0, 1.0) } else { 0.0 };
    ((1.0 - part) * f64::from(HIGH)).round() as u32
}

/// Steps of a heat map's intensity.
pub(crate) const HEATS: usize = 5;

/// Cells in rows of one unit, by intensity: `cells` are (bin, row from the top, intensity). Neighbours of
/// one intensity in a row are one cell, and all of an intensity are one path.
pub(crate) fn heat(cells: impl Iterator<Item = (usize, usize, usize)>) -> Markup {
    let mut paths = vec![String::new(); HEATS];
    let mut sorted: Vec<_> = cells.map(|(bin, row, heat)| (row, bin, heat)).collect();
    sorted.sort_unstable();
    let mut sorted = sorted.into_iter().peekable();
    while let Some((row, first, heat)) = sorted.next() {
        let mut last = first;
        while sorted.next_if_eq(&(row, last + 1, heat)).is_some() {
            last += 1;
        }
        let wide = (last + 1 - first) * BIN;
        let _infallible = write!(paths[heat], "M{} {row}h{wide}v1h-{wide}z", first * BIN);
    }
    html! {
        @for (heat, path) in paths.iter().enumerate().filter(|(_, path)| !path.is_empty()) {
            path.(format!("heat{heat}")) d=(path) {}
        }
    }
}

/// The intensity of a count where the most is `most`: even steps of the logarithm, by halving.
pub(crate) fn heat_of(count: u32, most: u32) -> usize {
    let octaves = |count: u32| (32 - count.leading_zeros()) as usize;
    let (count, most) = (octaves(count), octaves(most).max(1));
    (count * HEATS).div_ceil(most).clamp(1, HEATS) - 1
}

/// A number that is round and not below `value`: where a scale ends.
pub(crate) fn round_up(value: f64) -> f64 {
    if value <= 0.0 {
        return 1.0;
    }
    let mut decade = 1e-6;
    loop {
        let steps = [1.0, 1.5, 2.0, 3.0, 4.0, 5.0, 6.0, 8.0, 10.0].map(|step| step * decade);
        if let Some(top) = steps.into_iter().find(|step| *step >= value * 0.999_999) {
            return top;
        }
        decade *= 10.0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn steps_of_one_height_are_one_and_gaps_are_left() {
        assert_eq!(
            area(&[0.0, 1.0, 1.0, 0.5], 1.0, "a").into_string(),
            "<path class=\"a\" d=\"M0 200h10V0h20V100h10V200H0z\"></path>"
        );
        assert_eq!(
            line(&[None, Some(1.0), Some(1.0), None, Some(0.0)], 1.0, "l").into_string(),
            "<path class=\"l\" d=\"M10 0h20M40 200h10\"></path>"
        );
        assert_eq!(line(&[None], 1.0, "l").into_string(), "<path class=\"l\" d=\"\"></path>");
    }

    #[test]
    fn neighbours_of_one_heat_are_one_cell() {
        let cells = [(0, 0, 1), (1, 0, 1), (2, 0, 0), (0, 1, 1)].into_iter();
        let drawn = heat(cells).into_string();
        assert!(drawn.contains("class=\"heat0\" d=\"M20 0h10v1h-10z\""), "{drawn}");
        assert!(drawn.contains("d=\"M0 0h20v1h-20zM0 1h10v1h-10z\""), "{drawn}");
    }

    #[test]
    fn heat_grows_with_the_count_and_reaches_both_ends() {
        let heats: Vec<usize> = [1, 2, 4, 16, 100, 1_000].map(|it| heat_of(it, 1_000)).to_vec();
        assert_eq!(heats, [0, 0, 1, 2, 3, 4]);
        assert_eq!(heat_of(1, 1), HEATS - 1);
    }

    #[test]
    fn a_scale_ends_at_a_round_number() {
        let ends = [0.0, 0.37, 1.0, 97.0, 230.0].map(|it| format!("{:.2}", round_up(it)));
        assert_eq!(ends, ["1.00", "0.40", "1.00", "100.00", "300.00"]);
    }
}
