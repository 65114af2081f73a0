//! Where a redirect may lead: to a path here, or to a host that was written down or is the request's
//! own. What a client puts into a path never gets a say in it.

use alloc::string::String;

use super::{BadTemplate, Part, Variable};
use crate::request::plain_host;

/// Whether what it gives begins with a slash, whatever is filled in.
pub(super) fn starts_with_slash(parts: &[Part]) -> bool {
    match parts.first() {
        Some(Part::Text(text)) => text.starts_with('/'),
        Some(Part::Variable(variable)) => *variable == Variable::Path,
        None => false,
    }
}

/// Whether what stands behind it is in the query.
pub(super) fn begins_query(part: &Part) -> bool {
    match part {
        Part::Text(text) => text.contains('?'),
        Part::Variable(variable) => *variable == Variable::Query,
    }
}

/// Why a redirect with these parts would not lead where it was written.
pub(super) fn check(parts: &[Part]) -> Result<(), BadTemplate> {
    let mut has_query = false;
    for part in parts {
        match part {
            Part::Variable(Variable::Query) if has_query => return Err(BadTemplate::TwoQueries),
            part => has_query |= begins_query(part),
        }
    }
    if starts_with_slash(parts) {
        let elsewhere = matches!(&parts[0], Part::Text(text) if text.starts_with("//"));
        return if elsewhere { Err(BadTemplate::Start) } else { Ok(()) };
    }
    let Some(Part::Text(first)) = parts.first() else { return Err(BadTemplate::Start) };
    let authority = first.strip_prefix("https://").or_else(|| first.strip_prefix("http://"));
    let text = authority.ok_or(BadTemplate::Start)?;
    says_its_host(text, &parts[1..])?;
    // `https://{host}::80/` says one, and no browser finds it.
    plain_host(&authority_of(text, &parts[1..])).map(|_| ()).ok_or(BadTemplate::Start)
}

/// What stands between the scheme and the path, with a name for the request's host.
fn authority_of(begin: &str, parts: &[Part]) -> String {
    let mut out = String::from(begin);
    for part in parts {
        match part {
            Part::Text(more) => out.push_str(more),
            Part::Variable(Variable::Host) => out.push_str("host"),
            Part::Variable(_) => break,
        }
    }
    out.truncate(out.find(['/', '?', '#']).unwrap_or(out.len()));
    out
}

/// Why it would be a client who says which host it leads to.
fn says_its_host<'p>(mut text: &'p str, parts: &'p [Part]) -> Result<(), BadTemplate> {
    let mut is_empty = true;
    for part in parts {
        if let Some(ended) = authority_ends(text, &mut is_empty) {
            return ended;
        }
        match part {
            Part::Text(more) => text = more,
            Part::Variable(Variable::Host) => (text, is_empty) = ("", false),
            Part::Variable(Variable::Path | Variable::Query) if !is_empty => return Ok(()),
            Part::Variable(_) => return Err(BadTemplate::Authority),
        }
    }
    match authority_ends(text, &mut is_empty) {
        Some(ended) => ended,
        None if is_empty => Err(BadTemplate::Start),
        None => Ok(()),
    }
}

/// Whether an authority ends within `text`, and well.
fn authority_ends(text: &str, is_empty: &mut bool) -> Option<Result<(), BadTemplate>> {
    let end = text.find(['/', '?', '#']);
    let authority = &text[..end.unwrap_or(text.len())];
    let good = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.:[]".contains(&byte);
    if let Some(wrong) = authority.chars().find(|wrong| !u8::try_from(*wrong).is_ok_and(good)) {
        return Some(Err(BadTemplate::Character(wrong)));
    }
    *is_empty &= authority.is_empty();
    end.map(|_| if *is_empty { Err(BadTemplate::Start) } else { Ok(()) })
}
