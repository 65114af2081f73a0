//! PEM files: what is wrong with one, and what to do about it.
//!
//! Files are read once, before anything is made of them, so that what is fingerprinted is what is
//! served. Private keys stay in memory until the load is over.

use std::collections::BTreeMap;
use std::fmt;
use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use lb_config::config::KeyPair;
use rustls::RootCertStore;
use rustls::crypto::CryptoProvider;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::sign::CertifiedKey;
use x509_parser::certificate::X509Certificate;
use xxhash_rust::xxh3::Xxh3;

/// No list of certificates is longer: the roots of a whole system are a quarter of a MiB.
const FILE_BYTES_MAX: usize = 8 << 20;

/// The bytes of a file of the system, and no more of them than can be of use: a path may lead to
/// `/dev/zero`.
///
/// # Errors
/// What the system says.
pub fn read(path: &Path) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    File::open(path)?.take(FILE_BYTES_MAX as u64 + 1).read_to_end(&mut bytes)?;
    Ok(bytes)
}

/// How files are read, and when that is.
#[derive(Clone, Copy)]
pub struct Files<'f> {
    /// The bytes of a file: [`read`], unless there is no system.
    pub read: &'f dyn Fn(&Path) -> io::Result<Vec<u8>>,
    /// The time of day, for warnings about certificates that have expired.
    pub now: SystemTime,
}

/// What was made of files, and what to tell the operator about them.
#[derive(Debug)]
pub struct Loaded<T> {
    /// What was made.
    pub value: T,
    /// What will probably disappoint somebody.
    pub warnings: Vec<Problem>,
}

impl<T> Loaded<T> {
    /// The same, made into something else.
    pub fn map<U>(self, into: impl FnOnce(T) -> U) -> Loaded<U> {
        Loaded { value: into(self.value), warnings: self.warnings }
    }
}

/// What is wrong with a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// Which one, as the configuration names it.
    pub file: PathBuf,
    /// A predicate: "has no certificate".
    pub what: String,
    /// What to do about it.
    pub remedy: String,
}

impl Problem {
    fn new(file: &Path, what: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self { file: file.to_owned(), what: what.into(), remedy: remedy.into() }
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}; {}", self.file.display(), self.what, self.remedy)
    }
}

impl std::error::Error for Problem {}

/// What a set of files held, as a number: equal for equal contents, and as good as never for
/// different ones.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fingerprint(u128);

/// The files of one load, read once.
pub(super) struct Contents {
    read: BTreeMap<PathBuf, io::Result<Vec<u8>>>,
    now: SystemTime,
}

impl Contents {
    pub(super) fn read<'p>(paths: impl Iterator<Item = &'p PathBuf>, files: &Files<'_>) -> Self {
        let mut read = BTreeMap::new();
        for path in paths {
            read.entry(path.clone()).or_insert_with(|| (files.read)(path));
        }
        Self { read, now: files.now }
    }

    pub(super) fn fingerprint(&self) -> Fingerprint {
        let mut hasher = Xxh3::new();
        let mut add = |bytes: &[u8]| {
            hasher.update(&bytes.len().to_le_bytes()); // so that no byte can change sides
            hasher.update(bytes);
        };
        for (path, content) in &self.read {
            add(path.as_os_str().as_encoded_bytes());
            match content {
                Ok(bytes) => add(bytes),
                Err(error) => add(format!("{:?}", error.kind()).as_bytes()),
            }
        }
        Fingerprint(hasher.digest128())
    }

    /// A certificate with its key; what is doubtful about it is added to `warnings`.
    pub(super) fn certified(
        &self,
        pair: &KeyPair,
        provider: &CryptoProvider,
        warnings: &mut Vec<Problem>,
    ) -> Result<Arc<CertifiedKey>, Problem> {
        let chain = self.certificates(&pair.cert)?;
        let leaf = &chain[0];
        let parsed = parse(leaf).ok_or_else(|| {
            let what = "begins with a certificate that cannot be understood";
            Problem::new(&pair.cert, what, "issue it again as an X.509 certificate, version 3")
        })?;
        warnings.extend(self.untimely(&pair.cert, &parsed));
        let key = self.key(&pair.key)?;
        let key = provider.key_provider.load_private_key(key).map_err(|_| {
            let what = "has a private key of a kind that is not supported";
            Problem::new(&pair.key, what, "use RSA of 2048..=8192 bits, P-256, P-384 or Ed25519")
        })?;
        let certified = CertifiedKey::new(chain, key);
        match certified.keys_match() {
            // Some keys cannot tell their public half; they may well match.
            Ok(()) | Err(rustls::Error::InconsistentKeys(rustls::InconsistentKeys::Unknown)) => {
                Ok(Arc::new(certified))
            }
            Err(_) => {
                let what = format!("is not the key of the certificate in {}", pair.cert.display());
                let remedy = "name the two that were made together; the certificate of the server \
                              comes first in its file";
                Err(Problem::new(&pair.key, what, remedy))
            }
        }
    }

    /// Certificates that may vouch for others.
    pub(super) fn roots(
        &self,
        path: &Path,
        warnings: &mut Vec<Problem>,
    ) -> Result<RootCertStore, Problem> {
        let mut roots = RootCertStore::empty();
        for (index, der) in self.certificates(path)?.into_iter().enumerate() {
            if let Some(parsed) = parse(&der) {
                warnings.extend(self.untimely(path, &parsed));
            }
            roots.add(der).map_err(|_| {
                let what = format!("has a certificate (number {}) that cannot vouch", index + 1);
                Problem::new(path, what, "keep only certificates of authorities in it")
            })?;
        }
        Ok(roots)
    }

    /// At least one.
    fn certificates(&self, path: &Path) -> Result<Vec<CertificateDer<'static>>, Problem> {
        let pem = self.pem(path)?;
        let certificates: Vec<_> = CertificateDer::pem_slice_iter(pem)
            .collect::<Result<_, _>>()
            .map_err(|_| broken(path))?;
        if !certificates.is_empty() {
            return Ok(certificates);
        }
        Err(match PrivateKeyDer::from_pem_slice(pem) {
            Ok(_) => Problem::new(path, "has a key and no certificate", "swap cert and key"),
            Err(_) => {
                let remedy = "put the certificate in it as PEM: -----BEGIN CERTIFICATE-----";
                Problem::new(path, "has no certificate", remedy)
            }
        })
    }

    fn key(&self, path: &Path) -> Result<PrivateKeyDer<'static>, Problem> {
        let pem = self.pem(path)?;
        // PKCS #8 says so in its label, and the older kinds in a header (RFC 1421 §4.6.1.1).
        if memchr::memmem::find(pem, b"ENCRYPTED").is_some() {
            let remedy = format!(
                "decrypt it with openssl pkey -in {} -out FILE, and let nobody else read that",
                path.display()
            );
            return Err(Problem::new(path, "has a key that is encrypted", remedy));
        }
        match PrivateKeyDer::from_pem_slice(pem) {
            Ok(key) => Ok(key),
            Err(rustls::pki_types::pem::Error::NoItemsFound) => {
                let is_certificate = CertificateDer::from_pem_slice(pem).is_ok();
                let (what, remedy) = match is_certificate {
                    true => ("has a certificate and no key", "swap cert and key"),
                    false => (
                        "has no private key",
                        "put the key in it as PEM: -----BEGIN PRIVATE KEY-----",
                    ),
                };
                Err(Problem::new(path, what, remedy))
            }
            Err(_) => Err(broken(path)),
        }
    }

    /// The text of a file that looks like PEM.
    fn pem(&self, path: &Path) -> Result<&[u8], Problem> {
        let content = self.read.get(path).expect("every file that was asked for was read");
        let bytes = content.as_ref().map_err(|error| match error.kind() {
            io::ErrorKind::NotFound => Problem::new(path, "does not exist", "correct the path"),
            io::ErrorKind::PermissionDenied => {
                let remedy = "let the user that the proxy runs as read it, and nobody else";
                Problem::new(path, "may not be read", remedy)
            }
            _ => Problem::new(path, format!("cannot be read: {error}"), "correct the path"),
        })?;
        // A SEQUENCE is what DER begins with.
        if bytes.first() == Some(&0x30) && memchr::memmem::find(bytes, b"-----BEGIN").is_none() {
            let remedy = "convert it: openssl x509 (or pkey) -inform der -in FILE -out FILE.pem";
            return Err(Problem::new(path, "is DER and not PEM", remedy));
        }
        if bytes.len() > FILE_BYTES_MAX {
            let remedy = format!("keep what is needed, at most {} MiB", FILE_BYTES_MAX >> 20);
            return Err(Problem::new(path, "is too large for certificates", remedy));
        }
        Ok(bytes)
    }

    /// What is said about a certificate that does not count now. It is no error: a proxy that does
    /// not start is of less use than one that some clients refuse.
    fn untimely(&self, path: &Path, certificate: &X509Certificate<'_>) -> Option<Problem> {
        let seconds = self.now.duration_since(UNIX_EPOCH).unwrap_or(Duration::ZERO).as_secs();
        let now = i64::try_from(seconds).unwrap_or(i64::MAX);
        let validity = certificate.validity();
        let whose = subject_of(certificate);
        if validity.not_after.timestamp() < now {
            let what = format!("has a certificate{whose} that expired on {}", validity.not_after);
            return Some(Problem::new(path, what, "renew it: peers will refuse it"));
        }
        if validity.not_before.timestamp() > now {
            let what = format!("has a certificate{whose} that begins on {}", validity.not_before);
            return Some(Problem::new(path, what, "check the clock, or wait: peers refuse it"));
        }
        None
    }
}

/// A certificate, understood as far as names and dates go.
pub(super) fn parse<'c>(der: &'c CertificateDer<'_>) -> Option<X509Certificate<'c>> {
    x509_parser::parse_x509_certificate(der).ok().map(|(_, certificate)| certificate)
}

/// That a certificate of the list names no host.
pub(super) fn nameless(path: &Path) -> Problem {
    let what = "has a certificate without a host name (subjectAltName), so nobody asks for it";
    Problem::new(path, what, "issue it for the names that it serves")
}

fn subject_of(certificate: &X509Certificate<'_>) -> String {
    match super::subject::text(certificate.subject()) {
        subject if subject.is_empty() => String::new(),
        subject => format!(" ({subject})"),
    }
}

fn broken(path: &Path) -> Problem {
    let remedy = "copy it again, from the first -----BEGIN to the last -----END with its dashes";
    Problem::new(path, "is broken PEM", remedy)
}
