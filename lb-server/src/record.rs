//! The record of exchanges: what is needed to have them once more, and nothing that tells of people.
//!
//! A line says when a request arrived, for which service, whether it may be repeated, a number in place of
//! whoever asked, what it came to, and the same of each attempt. No address, path, header or body is in it.
//! Lines name services and backends by numbers, which a [`Table`] explains: each snapshot has one, and
//! whoever writes lines to a file writes the table before the first line that needs it. `docs/record.md` has
//! the format.

use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use lb_config::Config;
use lb_config::config::Recording;
use lb_core::{Time, stable_hash};
use serde::Serialize;

use crate::snapshot::Site;

/// The version of the format.
const VERSION: u32 = 1;

/// Takes a line of the record for each exchange.
pub trait RecordSink: Send + Sync {
    /// The number that stands for a key in the record: always the same for the same key, and such that
    /// nobody who has the record can find the key to a number, by trying them all either.
    fn veil(&self, key: u64) -> u64;

    /// Called when an exchange is over, on its worker's thread, with a line without its end and the table
    /// that explains it: be quick, and never wait.
    fn line(&self, table: &Arc<Table>, line: Vec<u8>);

    /// Exchanges that were recorded.
    fn written(&self) -> u64;

    /// Exchanges that were not recorded because nobody wrote fast enough, or there is no room.
    fn lost(&self) -> u64;
}

/// What the numbers in lines mean, and where the lines go.
#[derive(Debug)]
pub struct Table {
    /// Where to.
    pub said: Recording,
    /// Its name: 16 hexadecimal digits, by which lines say that they mean this one.
    pub id: String,
    /// The line that explains it, without its end.
    pub head: String,
}

#[derive(Serialize)]
struct Head<'h> {
    lb_record: u32,
    table: &'h str,
    /// What the times of arrival count from, in microseconds of Unix time.
    began_us: u64,
    services: &'h [Named<'h>],
}

#[derive(Serialize)]
struct Named<'n> {
    name: &'n str,
    backends: Vec<&'n str>,
}

impl Table {
    /// Of a snapshot that is made at `now`, when the time of day is `unix_time`; `None`: nothing is recorded.
    pub(crate) fn of(
        config: &Config,
        sites: &[Arc<Site>],
        now: Time,
        unix_time: SystemTime,
    ) -> Option<Arc<Self>> {
        let said = config.record.clone()?;
        let since = unix_time.duration_since(UNIX_EPOCH).unwrap_or_default();
        let since = u64::try_from(since.as_micros()).unwrap_or(u64::MAX);
        let began_us = since.saturating_sub(now.as_micros());
        let services: Vec<Named<'_>> = sites
            .iter()
            .map(|site| &site.service)
            .map(|service| Named {
                name: service.name(),
                backends: service.backends().map(|it| it.name()).collect(),
            })
            .collect();
        let head = |table: &str| {
            let head = Head { lb_record: VERSION, table, began_us, services: &services };
            serde_json::to_string(&head).expect("a table has neither maps nor floats")
        };
        let id = format!("{:016x}", stable_hash(head("").as_bytes()));
        Some(Arc::new(Self { said, head: head(&id), id }))
    }
}
