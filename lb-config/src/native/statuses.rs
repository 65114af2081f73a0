//! Lists of response statuses: single ones such as `503`, and classes such as `"5xx"` and `"52x"`.

use lb_core::config::StatusSet;

use crate::read::{Mistake, Table, Value};

/// The list of errors under `key`, in which nothing is said twice.
pub(super) fn statuses(table: &mut Table<'_>, key: &'static str, default: StatusSet) -> StatusSet {
    listed(table, key, default, 400)
}

/// The list under `key` of what may be good.
pub(super) fn good_statuses(
    table: &mut Table<'_>,
    key: &'static str,
    default: StatusSet,
) -> StatusSet {
    listed(table, key, default, 200)
}

fn listed(table: &mut Table<'_>, key: &'static str, default: StatusSet, least: u16) -> StatusSet {
    let mut set = StatusSet::NONE;
    let read = |item: Value<'_>| {
        let (first, last) = if item.is_text() {
            item.parsed(|text| class(text, least))?
        } else {
            let status = item.integer(least..=599_u16)?;
            (status, status)
        };
        let more = set.with_all(first, last);
        if more == set {
            item.wrong(&Mistake::new("is there twice", "remove one of the two"));
            return None;
        }
        set = more;
        Some(())
    };
    match table.list(key, read).given() {
        Some(_) => set,
        None => default,
    }
}

/// The first and the last status of `"5xx"` or `"52x"`.
fn class(text: &str, least: u16) -> Result<(u16, u16), Mistake> {
    let known = match text.as_bytes() {
        [hundred @ b'2'..=b'5', b'x', b'x'] => Some((u16::from(hundred - b'0') * 100, 99)),
        [hundred @ b'2'..=b'5', ten @ b'0'..=b'9', b'x'] => {
            Some((u16::from(hundred - b'0') * 100 + u16::from(ten - b'0') * 10, 9))
        }
        _ => None,
    };
    let known = known.filter(|(first, _)| *first >= least);
    let (first, span) = known.ok_or_else(|| {
        Mistake::new("is no class of statuses", "write a number, or as in \"5xx\" or \"52x\"")
    })?;
    Ok((first, first + span))
}
