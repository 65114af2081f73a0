//! What a service does when too few of its backends are fit.

use lb_core::config::{PoolConfig, WhenAllUnfit};

use crate::read::Table;

/// What is done, and from when on.
pub(super) struct Panic {
    pub(super) when_all_unfit: WhenAllUnfit,
    pub(super) below: u8,
}

pub(super) fn panic(table: &mut Table<'_>, pools: &[PoolConfig]) -> Panic {
    let words = [
        ("ask-answering", WhenAllUnfit::AskAnswering),
        ("fail-fast", WhenAllUnfit::FailFast),
        ("fail-open", WhenAllUnfit::FailOpen),
        ("fallback-pool", WhenAllUnfit::FallbackPool(0)),
        ("reset", WhenAllUnfit::Reset),
    ];
    let said = table.choice("when_all_unfit", &words).or_given(WhenAllUnfit::AskAnswering);
    let below = table.integer("panic_below", 0..=100).or(0);
    let fallback = table.text("fallback_pool").given();
    let mut when_all_unfit = said.value;
    if let WhenAllUnfit::FallbackPool(_) = said.value {
        let named = |name: &str| pools.iter().position(|pool| pool.name == name);
        let report = table.report();
        match &fallback {
            None => {
                let what = "when_all_unfit = \"fallback-pool\" names no pool";
                report.error(said.at, what, "add fallback_pool = \"NAME\"");
            }
            Some(name) => match named(&name.value) {
                Some(_) if pools.len() < 2 => {
                    let what = "fallback_pool is the only pool";
                    report.error(name.at, what, "add a pool that serves otherwise");
                }
                Some(place) => {
                    let place = u16::try_from(place).expect("POOLS_MAX fits in 16 bits");
                    when_all_unfit = WhenAllUnfit::FallbackPool(place);
                }
                None => {
                    let names: Vec<_> = pools.iter().map(|pool| pool.name.as_str()).collect();
                    let what = format!("fallback_pool {:?} is no pool of this service", name.value);
                    report.error(name.at, what, format!("use one of {}", names.join(", ")));
                }
            },
        }
    } else {
        let why = "without when_all_unfit = \"fallback-pool\"";
        table.warn_without_effect(&["fallback_pool"], why);
    }
    if said.value != WhenAllUnfit::FailOpen {
        table.warn_without_effect(&["panic_below"], "without when_all_unfit = \"fail-open\"");
    }
    Panic { when_all_unfit, below }
}
