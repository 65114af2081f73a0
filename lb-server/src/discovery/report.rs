//! `/discovery` at the admin listener: each source, what it found and what is wrong with it.

use serde_json::{Value, json};

use super::known::{Became, Known, Whose};
use crate::gateway::Gateway;

/// All sources, in the order of services, pools and sources by name.
pub(crate) fn report(gateway: &Gateway) -> Value {
    let now = gateway.now();
    let book = gateway.sources.book();
    let all = book.known.iter().map(|(key, known)| {
        let Known { found, whose, seen, trouble, counts, .. } = known;
        let backends = found.as_deref().unwrap_or_default().iter().map(|found| {
            let backend = &found.backend;
            json!({
                "url": backend.name,
                "weight": backend.weight,
                "draining": backend.draining,
                "region": backend.region,
            })
        });
        let looks: serde_json::Map<String, Value> = Became::ALL
            .into_iter()
            .map(|became| (became.as_str().to_owned(), counts[became as usize].into()))
            .collect();
        json!({
            "service": key.service,
            "pool": key.pool,
            "source": key.source,
            "backends": backends.collect::<Vec<_>>(),
            "remembered": *whose == Whose::Remembered,
            "borrowed": *whose == Whose::Borrowed,
            "ageSeconds": seen.map(|seen| (now - seen).as_secs_f64()),
            "trouble": trouble,
            "looks": looks,
        })
    });
    all.collect()
}
