//! Numbers from falling densities, nearly always for a multiplication and a comparison (Marsaglia and Tsang,
//! "The ziggurat method for generating random variables", Journal of Statistical Software 5(8), 2000).
//!
//! The area below a density is cut into layers of the same size, of which the lowest has the tail in it. A
//! point in a layer is below the density if it is left of the layer above; only a few have to be looked at
//! closer. Logarithms and powers are software's, since the platform's differ in the last bit. A square root
//! has one right result, which every processor finds (IEEE 754 §5.4.1).

use std::sync::LazyLock;

use crate::dice::{Chance, share};

/// Layers, which eight bits tell apart.
const LAYERS: usize = 256;

/// A density that falls from 1 at 0, cut into layers.
struct Ziggurat {
    /// How far each layer reaches, from the lowest to the top. The first is as wide as one without a tail
    /// would have to be.
    widths: [f64; LAYERS + 1],
    /// The density there.
    heights: [f64; LAYERS + 1],
    density: fn(f64) -> f64,
}

/// `e` to the power of `-x`, for 0 and above.
static EXPONENTIAL: LazyLock<Ziggurat> = LazyLock::new(|| {
    let density = |x: f64| libm::exp(-x);
    let inverse = |y: f64| -libm::log(y);
    Ziggurat::new(density, inverse, 7.697_117_470_131_05, 3.949_659_822_581_572e-3)
});

/// `e` to the power of `-x²/2`, for 0 and above: half of a normal distribution.
static NORMAL: LazyLock<Ziggurat> = LazyLock::new(|| {
    let density = |x: f64| libm::exp(-x * x / 2.0);
    let inverse = |y: f64| (-2.0 * libm::log(y)).sqrt();
    Ziggurat::new(density, inverse, 3.654_152_885_361_009, 4.928_673_233_992_336e-3)
});

impl Ziggurat {
    /// The layers of a density whose tail begins at `tail`, each of this `area`.
    fn new(density: fn(f64) -> f64, inverse: fn(f64) -> f64, tail: f64, area: f64) -> Self {
        let mut widths = [0.0; LAYERS + 1];
        widths[0] = area / density(tail);
        widths[1] = tail;
        for nth in 1..LAYERS - 1 {
            widths[nth + 1] = inverse(density(widths[nth]) + area / widths[nth]);
        }
        Self { widths, heights: widths.map(density), density }
    }

    /// A number, not below 0, of which `bits` of chance decide if they can; `None`: it is in the tail.
    #[inline]
    fn draw(&self, bits: u64, dice: &mut impl Chance) -> Option<f64> {
        let (layer, at) = self.point(bits);
        match at < self.widths[layer + 1] {
            true => Some(at),
            false => self.look_closer(layer, at, dice),
        }
    }

    /// A layer, and how far to the right in it.
    fn point(&self, bits: u64) -> (usize, f64) {
        let layer = (bits & 0xff) as usize;
        (layer, share(bits) * self.widths[layer])
    }

    /// What is right of the layer above counts if it is below the density. Else another point is drawn.
    #[cold]
    fn look_closer(&self, layer: usize, at: f64, dice: &mut impl Chance) -> Option<f64> {
        let (mut layer, mut at) = (layer, at);
        loop {
            let (low, high) = (self.heights[layer], self.heights[layer + 1]);
            match layer {
                _ if at < self.widths[layer + 1] => return Some(at),
                0 => return None,
                _ if low + dice.unit() * (high - low) < (self.density)(at) => return Some(at),
                _ => (layer, at) = self.point(dice.bits()),
            }
        }
    }
}

/// A number from the exponential distribution whose mean is 1.
pub(crate) fn exponential(dice: &mut impl Chance) -> f64 {
    let bits = dice.bits();
    // What is beyond any point of it is distributed like the whole.
    let beyond = |dice: &mut _| EXPONENTIAL.widths[1] + by_logarithm(dice);
    EXPONENTIAL.draw(bits, dice).unwrap_or_else(|| beyond(dice))
}

/// A number from the standard normal distribution.
pub(crate) fn normal(dice: &mut impl Chance) -> f64 {
    let bits = dice.bits();
    let size = NORMAL.draw(bits, dice).unwrap_or_else(|| beyond_normal(dice));
    // This bit has no part in the layer nor in the place.
    if bits & 0x100 == 0 { size } else { -size }
}

/// A number from the tail of the normal distribution (Marsaglia, 1964).
#[cold]
fn beyond_normal(dice: &mut impl Chance) -> f64 {
    let tail = NORMAL.widths[1];
    loop {
        let over = by_logarithm(dice) / tail;
        if 2.0 * by_logarithm(dice) > over * over {
            return tail + over;
        }
    }
}

/// A number from the exponential distribution, by its logarithm.
#[cold]
fn by_logarithm(dice: &mut impl Chance) -> f64 {
    -libm::log(1.0 - dice.unit())
}

#[cfg(test)]
mod tests {
    use lb_core::Rng;

    use super::*;

    const DRAWS: u32 = 4_000_000;

    /// How many of many draws are beyond a point, beside how many should be: within five deviations.
    fn holds(draw: impl Fn(&mut Rng) -> f64, points: &[(f64, f64)]) {
        let mut dice = Rng::stream(7, 7);
        let mut beyond = vec![0_u32; points.len()];
        for _ in 0..DRAWS {
            let drawn = draw(&mut dice);
            for (count, (point, _)) in beyond.iter_mut().zip(points) {
                *count += u32::from(drawn > *point);
            }
        }
        for (found, (point, share)) in beyond.into_iter().zip(points) {
            let said = share * f64::from(DRAWS);
            let deviation = (said * (1.0 - share)).sqrt();
            assert!(
                (f64::from(found) - said).abs() < 5.0 * deviation,
                "{point}: {found} of {said}"
            );
        }
    }

    #[test]
    fn as_many_are_beyond_each_point_as_the_textbook_says() {
        // On both sides of where the tails begin, at 7.7 and at 3.65.
        let points = [0.001, 0.1, 0.5, 1.0, 2.0, 4.0, 7.0, 7.7, 8.5, 10.0];
        holds(exponential, &points.map(|at| (at, libm::exp(-at))));
        let beyond = |at: f64| libm::erfc(at / 2.0_f64.sqrt()) / 2.0;
        let points = [-4.0, -3.0, -1.0, -0.2, 0.0, 0.001, 0.3, 1.0, 2.0, 3.0, 3.6, 3.7, 4.2];
        holds(normal, &points.map(|at| (at, beyond(at))));
    }

    #[test]
    fn the_layer_at_the_top_and_the_one_with_the_tail_are_as_large_as_the_others() {
        let tails = [
            |at: f64| libm::exp(-at),
            |at: f64| (std::f64::consts::PI / 2.0).sqrt() * libm::erfc(at / 2.0_f64.sqrt()),
        ];
        for (of, tail) in [&EXPONENTIAL, &NORMAL].into_iter().zip(tails) {
            let size = of.widths[2] * (of.heights[3] - of.heights[2]);
            let top = of.widths[LAYERS - 1] * (of.heights[LAYERS] - of.heights[LAYERS - 1]);
            let lowest = of.widths[1] * of.heights[1] + tail(of.widths[1]);
            for other in [top, lowest] {
                assert!((other / size - 1.0).abs() < 1e-8, "{other} and {size}");
            }
        }
    }
}
