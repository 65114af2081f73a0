//! Worlds by the thousand: a seed is a configuration, a workload and everything that goes wrong.
//!
//! A scenario that a person wrote looks where he looked. In a swarm (Groce et al., 2012) each seed draws which
//! features there are at all and then what they say, so that combinations come up that nobody thinks of. What
//! is drawn is a scenario file: whatever fails can be read, run again, and shrunk.
//!
//! Nobody knows what to expect of such a world, so it has no expectations: the invariants judge it. They may
//! say that it recovers and that overload ends, since only worlds are drawn in which that may be
//! [asked](crate::sanity): time enough is left, and servers can carry what clients ask for.

mod draw;
mod world;
mod service;
mod limits;
mod timeline;
pub mod coverage;

use toml::{Table, Value};

use crate::document::{parsed, tables_mut, written};
use crate::sanity::{has_time, is_ample, recovery};
use crate::scenario::{self, Scenario};

use draw::Draw;

/// What a swarm is drawn around.
#[derive(Clone, Debug)]
pub struct Base {
    /// Its name, as in files that remember seeds.
    pub name: String,
    /// A scenario, whose services, hosts and backends are kept; none: those are drawn as well.
    pub text: Option<String>,
}

/// Worlds that are drawn under one seed until one can be held to its promises.
const DRAWS_MAX: u64 = 64;

/// What holds in all of them.
const CLAIM: &str = "A drawn world keeps every promise.";

/// The scenario that `seed` draws, as text.
///
/// # Errors
/// If the base is no scenario, or leaves no room for one that can be held to anything.
pub fn drawn(base: &Base, seed: u64) -> Result<String, String> {
    let mut said = String::new();
    for number in 0..DRAWS_MAX {
        match once(base, seed, number) {
            Ok(Some(text)) => return Ok(text),
            Ok(None) => {}
            Err(why) => said = why,
        }
    }
    let name = &base.name;
    Err(match said.is_empty() {
        true => format!(
            "{name}: none of {DRAWS_MAX} worlds drawn under seed {seed} can carry its load; give the base's \
             origins more places, or leave concurrency out"
        ),
        false => format!("{name}: {said}"),
    })
}

/// One try; `None` if the world is one of which nothing can be asked.
fn once(base: &Base, seed: u64, number: u64) -> Result<Option<String>, String> {
    let draw = |what: &str| Draw::new(seed, what, number);
    let mut root = match &base.text {
        Some(text) => parsed(text)?,
        None => world::base(&mut draw("base")),
    };
    for key in ["expect", "tunnels", "attack", "socket"] {
        root.remove(key);
    }
    root.insert("seed".into(), Value::Integer(seed.cast_signed()));
    let frame = world::frame(&mut root, &mut draw("world"));
    let config = root.get_mut("config").and_then(Value::as_table_mut);
    let config = config.ok_or("there is no [config]; give it one")?;
    for (nth, table) in tables_mut(config, "service").enumerate() {
        service::draw(table, &frame, &|what| draw(&format!("{what} {nth}")));
    }
    let healed = timeline::draw(&mut root, &draw);
    put(&mut root, "duration", "1h");
    put(&mut root, "recover_within", "1ms");
    let world = load(&root)?;
    let recovery = recovery(&world).as_millis().max(1) + 1;
    put(&mut root, "recover_within", &format!("{recovery}ms"));
    put(
        &mut root,
        "duration",
        &format!("{}ms", healed.as_millis() + recovery + timeline::AFTER_MS),
    );
    let world = load(&root)?;
    Ok((has_time(&world) && is_ample(&world)).then(|| text(&root)))
}

fn put(root: &mut Table, key: &str, text: &str) {
    root.insert(key.into(), Value::String(text.to_owned()));
}

fn text(root: &Table) -> String {
    written(&[CLAIM], root)
}

fn load(root: &Table) -> Result<Scenario, String> {
    let text = text(root);
    let (world, said) = scenario::load(&lb_config::Source { name: "drawn", text: &text });
    world.ok_or_else(|| said.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n"))
}
