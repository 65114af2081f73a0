//! Host patterns, and what is kept under each: the most exact one first.
//!
//! An exact name goes before a wildcard, a longer wildcard before a shorter one, and `*` comes last. A
//! wildcard stands for one or more whole labels. Looking up allocates nothing, and costs a search in
//! an ordered map for each label at most.

use alloc::borrow::ToOwned;
use alloc::boxed::Box;
use alloc::collections::BTreeMap;

use crate::request::plain_host;

/// What is kept under patterns.
#[derive(Clone, Debug)]
pub(crate) struct Hosts<T> {
    exact: BTreeMap<Box<str>, T>,
    /// By what follows the `*.`.
    wildcards: BTreeMap<Box<str>, T>,
    any: Option<T>,
}

/// Longer than any host name (RFC 1035 §2.3.4), which brackets around an address do not change.
const HOST_BYTES_MAX: usize = 256;

impl<T> Hosts<T> {
    /// What is kept under `pattern`; what `T` begins as if nothing was.
    pub(crate) fn entry(&mut self, pattern: &str) -> &mut T
    where
        T: Default,
    {
        let pattern = pattern.to_ascii_lowercase();
        match pattern.strip_prefix("*.") {
            _ if pattern == "*" => self.any.get_or_insert_default(),
            Some(parent) => self.wildcards.entry(parent.to_owned().into()).or_default(),
            None => self.exact.entry(pattern.into()).or_default(),
        }
    }

    /// The first that `look` makes something of, of all whose pattern `host` matches. A port does not
    /// matter, nor does the case, nor the dot that ends a fully qualified name. What could not be a
    /// host matches `*` alone.
    pub(crate) fn find_map<'t, F>(
        &'t self,
        host: &str,
        mut look: impl FnMut(&'t T) -> Option<F>,
    ) -> Option<F> {
        let mut lower = [0; HOST_BYTES_MAX];
        let host = match self.exact.is_empty() && self.wildcards.is_empty() {
            true => None,
            false => plain_host(host).and_then(|host| in_lower_case(host, &mut lower)),
        };
        if let Some(host) = host {
            let found = self.exact.get(host).and_then(&mut look).or_else(|| {
                let dots = host.match_indices('.').filter(|(dot, _)| *dot > 0);
                let parents = dots.map(|(dot, _)| &host[dot + 1..]);
                parents.filter_map(|parent| self.wildcards.get(parent)).find_map(&mut look)
            });
            if found.is_some() {
                return found;
            }
        }
        self.any.as_ref().and_then(look)
    }
}

impl<T> Default for Hosts<T> {
    fn default() -> Self {
        Self { exact: BTreeMap::new(), wildcards: BTreeMap::new(), any: None }
    }
}

fn in_lower_case<'b>(host: &str, buffer: &'b mut [u8; HOST_BYTES_MAX]) -> Option<&'b str> {
    let lower = buffer.get_mut(..host.len())?;
    lower.copy_from_slice(host.as_bytes());
    lower.make_ascii_lowercase();
    core::str::from_utf8(lower).ok()
}
