//! Which certificate is shown to whom: by the name that the client asks for (SNI).
//!
//! An exact name goes before `*.example.com`, which stands for one label and no more (RFC 6125
//! §6.4.3), and where no name fits, or none is asked for, the first certificate of the list is
//! shown: the client may still know it. Two certificates of one name, such as an RSA and an ECDSA
//! one, both serve: the first that the client can check is taken.

use std::collections::BTreeMap;
use std::sync::Arc;

use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use x509_parser::extensions::GeneralName;

use super::files::parse;

pub(super) type Keys = Vec<Arc<CertifiedKey>>;

/// Certificates by the names in them.
#[derive(Debug)]
pub(super) struct Names {
    /// The first of the list, alone.
    first: Keys,
    exact: BTreeMap<String, Keys>,
    /// What follows the `*.` of a wildcard.
    below: BTreeMap<String, Keys>,
}

impl Names {
    pub(super) fn new(first: Arc<CertifiedKey>) -> Self {
        Self { first: vec![first], exact: BTreeMap::new(), below: BTreeMap::new() }
    }

    /// Adds `key` under all names of its certificate.
    pub(super) fn add(&mut self, key: &Arc<CertifiedKey>) {
        let names = key.cert.first().map(|leaf| hosts(leaf)).unwrap_or_default();
        for name in names {
            let keys = match name.strip_prefix("*.") {
                Some(parent) => self.below.entry(parent.to_owned()),
                None => self.exact.entry(name),
            };
            keys.or_default().push(Arc::clone(key));
        }
    }

    pub(super) fn named(&self, name: &str) -> Option<&Keys> {
        // A dot at the end says that nothing follows, which is so in any case.
        let name = name.strip_suffix('.').unwrap_or(name).to_ascii_lowercase();
        let wild = || name.split_once('.').and_then(|(_, parent)| self.below.get(parent));
        self.exact.get(&name).or_else(wild)
    }
}

impl ResolvesServerCert for Names {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        let keys = hello.server_name().and_then(|name| self.named(name)).unwrap_or(&self.first);
        let offered = hello.signature_schemes();
        let fits = |key: &&Arc<CertifiedKey>| key.key.choose_scheme(offered).is_some();
        // Where none fits, rustls says so better than we could.
        keys.iter().find(fits).or_else(|| keys.first()).cloned()
    }
}

/// The host names of a certificate, in lower case. The subject's common name is none: clients have
/// not looked at it for years (RFC 9525 §2).
pub(super) fn hosts(leaf: &rustls::pki_types::CertificateDer<'_>) -> Vec<String> {
    let Some(certificate) = parse(leaf) else { return Vec::new() };
    let Ok(Some(names)) = certificate.subject_alternative_name() else { return Vec::new() };
    let host = |name: &GeneralName<'_>| match name {
        GeneralName::DNSName(host) => Some(host.to_ascii_lowercase()),
        _ => None,
    };
    names.value.general_names.iter().filter_map(host).collect()
}
