//! Writes a made-up record to standard output, to measure with: so many seconds, requests a second and
//! backends. `cargo run --release -p lb-sim --example synthesize -- 3600 1000 10 > hour.lb`
//!
//! A tenth of the time the first backend answers half of the requests with 503, which are asked again.

use std::io::{self, BufWriter, Write};

use lb_core::Rng;

fn main() -> io::Result<()> {
    let mut arguments = std::env::args().skip(1).map(|it| it.parse::<u64>().ok());
    let mut next = |default| arguments.next().flatten().unwrap_or(default);
    let (seconds, rate, backends) = (next(60).max(1), next(1_000).max(1), next(10).max(2));
    let mut out = BufWriter::new(io::stdout().lock());
    write!(out, "{{\"lb_record\":1,\"table\":\"0000000000000001\",\"began_us\":1700000000000000,")?;
    let names: Vec<String> =
        (0..backends).map(|nth| format!("\"http://10.0.0.{}:80\"", nth + 1)).collect();
    writeln!(out, "\"services\":[{{\"name\":\"web\",\"backends\":[{}]}}]}}", names.join(","))?;
    let mut dice = Rng::stream(1, 1);
    let mut below = |bound: u64| dice.next_u64() % bound;
    let (mut at, gap, end) = (0, 1_000_000 / rate, seconds * 1_000_000);
    let trouble = end / 2..end / 2 + end / 10;
    while at < end {
        at += below(2 * gap.max(1)) + 1;
        let backend = below(backends);
        // Most take some milliseconds, some ten times that.
        let took = 2_000 + below(6_000) + if below(50) == 0 { below(60_000) } else { 0 };
        let (repeat, bytes) = if below(10) == 0 { ('o', below(4_096)) } else { ('s', 0) };
        let key = below(10_000).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        let fails = trouble.contains(&at) && backend == 0 && below(2) == 0;
        let first = if fails { format!("{backend}:503:0:300,") } else { String::new() };
        let (backend, begins) = if fails { (1, 300) } else { (backend, 0) };
        let whole = begins + took + 40;
        writeln!(
            out,
            "{at} 0 {repeat} {key:016x} 200 c {whole} {bytes} 1043 {first}{backend}:200:{begins}:{took}"
        )?;
    }
    out.flush()
}
