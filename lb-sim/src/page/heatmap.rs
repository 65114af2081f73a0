//! Latencies over time: how many good answers took how long, the darker the more, with the median and the
//! 99th percentile of each bin drawn over them.
//!
//! An answer stands where its request was sent. Rows are quarters of an octave and as high as they are on a
//! logarithmic scale, to within a twentieth.

use maud::{Markup, html};

use super::chart::{HEATS, heat, heat_of, line, plot};
use super::history::bucket;
use super::scene::Scene;
use super::timeline::{Size, nothing, row};
use super::words::millis;

/// Rows of an octave.
const ROWS: usize = 4;

pub(super) fn latencies(scene: &Scene<'_>) -> Markup {
    let cells = &scene.history.latencies;
    let known = || cells.iter().flat_map(|bin| bin.keys().copied());
    let (Some(low), Some(high)) = (known().min(), known().max()) else {
        return nothing("Latency", "there was no good answer");
    };
    // Whole octaves, so that rows below and above are not cut.
    let (low, high) = (low / ROWS * ROWS, high / ROWS * ROWS + ROWS);
    let rows = high - low;
    let most = cells.iter().flat_map(|bin| bin.values().copied()).max().unwrap_or(1);
    let drawn = heat(cells.iter().enumerate().flat_map(|(bin, buckets)| {
        let cell =
            move |(bucket, count): (&usize, &u32)| (bin, high - 1 - bucket, heat_of(*count, most));
        buckets.iter().map(cell)
    }));
    let label = format!(
        "latencies of good answers over time, from {} to {}",
        millis(begins(low)),
        millis(begins(high)),
    );
    let high_u32 = u32::try_from(rows).unwrap_or(u32::MAX);
    let quantile = |quantile: f64| -> Vec<Option<f64>> {
        let of = |ms: f64| (octaves(ms * 1_000.0) * ROWS as f64 - low as f64).max(0.0);
        scene.bins.iter().map(|bin| bin.latency_ms(quantile).map(of)).collect()
    };
    let drawn = html! {
        (plot(scene.axis.count, high_u32, &label, &drawn))
        (plot(scene.axis.count, super::chart::HIGH, "median and 99th percentile of each bin", &html! {
            (line(&quantile(0.5), rows as f64, "p50"))
            (line(&quantile(0.99), rows as f64, "p99"))
        }))
    };
    let note = html! {
        span { @for heat in 0..HEATS { i.key.(format!("heat{heat}")) {} } "few to " (most) }
        span { i.key.p50 {} "p50 " i.key.p99 {} "p99" }
    };
    let scale = html! {
        @for (ms, label) in [(0.1, "0.1 ms"), (1.0, "1 ms"), (10.0, "10 ms"), (100.0, "100 ms"), (1_000.0, "1 s"), (10_000.0, "10 s")] {
            @let from_bottom = (octaves(ms * 1_000.0) * ROWS as f64 - low as f64) / rows as f64 * 100.0;
            @if (0.0..=100.0).contains(&from_bottom) {
                span.at style=(format!("bottom:{from_bottom:.1}%")) { (label) }
            }
        }
    };
    row("Latency", &note, Size::Large, &drawn, &scale)
}

/// When a bucket begins, in milliseconds.
#[expect(clippy::cast_precision_loss, reason = "a latency is far below 2⁵² microseconds")]
fn begins(at: usize) -> f64 {
    bucket::begins(at) as f64 / 1_000.0
}

/// The height of a latency in octaves, where quarters of an octave are drawn as high as each other: it is
/// the straight line within an octave that the rows are.
fn octaves(micros: f64) -> f64 {
    let micros = micros.max(1.0);
    let (mut octave, mut begins) = (0.0, 1.0);
    while begins * 2.0 <= micros {
        begins *= 2.0;
        octave += 1.0;
    }
    octave + (micros / begins - 1.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_latency_stands_in_the_row_of_its_bucket() {
        for micros in [4_u64, 5, 7, 8, 1_000, 1_234, 65_535, 65_536, 30_000_000] {
            let bucket = bucket::of(micros);
            let height = octaves(micros as f64) * ROWS as f64;
            assert!((bucket as f64..bucket as f64 + 1.0).contains(&height), "{micros}");
            assert!(bucket::begins(bucket) <= micros && micros < bucket::begins(bucket + 1));
        }
    }
}
