//! `[[service.pool]]` and its backends.

use lb_core::config::{BACKENDS_MAX, BackendConfig, PoolConfig, WEIGHT_MAX};

use crate::address::{self, BackendUrl};
use crate::config::Origin;
use crate::native::{Taken, label};
use crate::read::{Given, Mistake, Table, Value};

/// What a pool is called that is the only one of its service and was given no name.
const ONLY: &str = "default";

/// One backend as it was written.
struct Written {
    url: Given<BackendUrl>,
    weight: Given<u32>,
    draining: bool,
}

/// All pools of a service and, in the same order, where their backends are.
pub(super) fn pools(service: &mut Table<'_>) -> (Vec<PoolConfig>, Vec<Origin>) {
    let report = service.report();
    let header = service.header_of("pool");
    let add = format!("{header} with backends = [{{ url = \"http://10.0.0.1:3000\" }}]");
    let Some(written) = service.tables("pool").required(&add) else {
        return Default::default();
    };
    if written.value.is_empty() {
        report.error(written.at, "the service has no pool", format!("add {add}"));
    }
    let only = written.value.len() == 1;
    let mut names = Taken::default();
    let mut identities = Taken::default();
    let (mut pools, mut origins) = (Vec::new(), Vec::new());
    for mut table in written.value {
        let name = name(&mut table, only, &mut names);
        let backends = backends(&mut table, &mut identities);
        origins.extend(backends.iter().map(|backend| backend.url.value.origin.clone()));
        pools.push(PoolConfig { name, backends: backends.iter().map(lower).collect() });
    }
    if origins.len() > BACKENDS_MAX {
        let what = format!("the service has {} backends", origins.len());
        report.error(written.at, what, format!("use 1..={BACKENDS_MAX} over all its pools"));
    }
    (pools, origins)
}

fn name(table: &mut Table<'_>, only: bool, taken: &mut Taken) -> String {
    let field = table.parsed("name", label);
    if only {
        return field.or(ONLY.to_owned());
    }
    let Some(name) = field.required("name = \"main\": only a single pool may go without") else {
        return ONLY.to_owned();
    };
    if let Err(first) = taken.take(&name.value, name.at) {
        let place = table.report().place(first);
        let what = format!("name {:?} is taken by the pool at {place}", name.value);
        table.report().error(name.at, what, "give each pool of a service a name of its own");
    }
    name.value
}

fn backends(table: &mut Table<'_>, identities: &mut Taken) -> Vec<Written> {
    let report = table.report();
    let example = "backends = [{ url = \"http://10.0.0.1:3000\" }]";
    let mut count: usize = 0;
    let backends = table.list("backends", |item| {
        count += 1;
        backend(&item)
    });
    let Some(backends) = backends.required(example) else { return Vec::new() };
    if count == 0 {
        report.error(backends.at, "backends is empty", "add { url = \"http://10.0.0.1:3000\" }");
    }
    for backend in &backends.value {
        let (identity, at) = (&backend.url.value.identity, backend.url.at);
        if let Err(first) = identities.take(identity, at) {
            let what = format!(
                "backend {identity} is in this service already, at {}",
                report.place(first)
            );
            report.error(at, what, "remove one of the two, and use weight for a larger share");
        }
    }
    if let ([only], 1) = (backends.value.as_slice(), count)
        && only.weight.said
    {
        let what = "weight has no effect in a pool of one backend";
        report.warn(only.weight.at, what, "remove it or add another backend");
    }
    backends.value
}

fn backend(item: &Value<'_>) -> Option<Written> {
    if item.is_text() {
        item.wrong(&Mistake::new("is a text and not a table", "write { url = \"..\" }"));
        return None;
    }
    let mut table = item.item_table()?;
    let url = table.parsed("url", address::backend_url);
    let url = url.required("url = \"http://10.0.0.1:3000\"");
    let weight = table.field("weight", |value| weight(&value)).or_given(1);
    let draining = table.boolean("draining").or(false);
    Some(Written { url: url?, weight, draining })
}

fn weight(value: &Value<'_>) -> Option<u32> {
    if value.as_integer() == Some(0) {
        let remedy = format!("remove the backend or use 1..={WEIGHT_MAX}");
        value.wrong(&Mistake::new("gets no traffic", remedy));
        return None;
    }
    value.integer(1..=WEIGHT_MAX)
}

fn lower(written: &Written) -> BackendConfig {
    BackendConfig {
        weight: written.weight.value,
        draining: written.draining,
        ..BackendConfig::new(&written.url.value.identity)
    }
}
