//! Host patterns, and what is kept under each: the most exact one first.
//!
//! An exact name goes before a wildcard, a longer wildcard before a shorter one, and `*` comes last. A
//! wildcard stands for one or more whole labels. An IPv6 address is compared as the address that it is,
//! however it is written: as RFC 5952 writes it. Looking up allocates nothing, and costs a search in
//! an ordered map for each label at most.

use alloc::borrow::ToOwned;
use alloc::boxed::Box;
use alloc::collections::BTreeMap;
use alloc::format;
use core::fmt::{self, Write};
use core::net::Ipv6Addr;

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
        let pattern = match address(pattern) {
            Some(address) => format!("[{address}]"),
            None => pattern.to_ascii_lowercase(),
        };
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
        let mut compared = Compared { bytes: [0; HOST_BYTES_MAX], length: 0 };
        let host = match self.exact.is_empty() && self.wildcards.is_empty() {
            true => None,
            false => plain_host(host).and_then(|host| compared.form(host)),
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

/// The address in brackets.
fn address(host: &str) -> Option<Ipv6Addr> {
    host.strip_prefix('[')?.strip_suffix(']')?.parse().ok()
}

/// A host as it is compared.
struct Compared {
    bytes: [u8; HOST_BYTES_MAX],
    length: usize,
}

impl Compared {
    /// In lower case, and an address in its one form. `None` if it is longer than hosts are.
    fn form(&mut self, host: &str) -> Option<&str> {
        let written = match address(host) {
            Some(address) => write!(self, "[{address}]"),
            None => self.write_str(host),
        };
        written.ok()?;
        let host = &mut self.bytes[..self.length];
        host.make_ascii_lowercase();
        core::str::from_utf8(host).ok()
    }
}

impl Write for Compared {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        let end = self.length + text.len();
        self.bytes.get_mut(self.length..end).ok_or(fmt::Error)?.copy_from_slice(text.as_bytes());
        self.length = end;
        Ok(())
    }
}
