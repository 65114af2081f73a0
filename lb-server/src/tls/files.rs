//! PEM files: what is wrong with one, and what to do about it.
//!
//! Files are read once, before anything is made of them, so that what is fingerprinted is what is
//! served. Private keys stay in memory until the load is over.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::fs::File;
use std::io::{self, Read};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use lb_config::config::KeyPair;
use nix::errno::Errno;
use nix::fcntl::OFlag;
use rustls::RootCertStore;
use rustls::crypto::CryptoProvider;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::sign::CertifiedKey;
use x509_parser::certificate::X509Certificate;
use x509_parser::x509::X509Version;
use xxhash_rust::xxh3::Xxh3;

use crate::doors::is_exhausted;

/// No list of certificates is longer: the roots of a whole system are a quarter of a MiB.
const FILE_BYTES_MAX: usize = 8 << 20;

/// The bytes of a file of the system, and no more of them than can be of use.
///
/// # Errors
/// What the system says; `InvalidInput` where the path leads to a pipe, say, that nobody writes to.
pub fn read(path: &Path) -> io::Result<Vec<u8>> {
    // Opening a pipe waits for its other end, unless it is told not to wait.
    let file = File::options().read(true).custom_flags(OFlag::O_NONBLOCK.bits()).open(path)?;
    if !file.metadata()?.is_file() {
        return Err(io::ErrorKind::InvalidInput.into());
    }
    let mut bytes = Vec::new();
    file.take(FILE_BYTES_MAX as u64 + 1).read_to_end(&mut bytes)?;
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
pub(super) struct Fingerprint(u128);

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

    /// What is in the files at `paths`, in any order.
    pub(super) fn fingerprint(&self, paths: &[&PathBuf]) -> Fingerprint {
        let mut hasher = Xxh3::new();
        let mut add = |bytes: &[u8]| {
            hasher.update(&bytes.len().to_le_bytes()); // so that no byte can change sides
            hasher.update(bytes);
        };
        for path in paths.iter().collect::<BTreeSet<_>>() {
            add(path.as_os_str().as_encoded_bytes());
            match &self.read[*path] {
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

    /// Certificates that may vouch for others. One that may not is an error, unless `pin` takes it: who
    /// has the key of a leaf could otherwise vouch for anybody.
    pub(super) fn roots(
        &self,
        path: &Path,
        warnings: &mut Vec<Problem>,
        mut pin: impl FnMut(&CertificateDer<'static>, &X509Certificate<'_>) -> bool,
    ) -> Result<RootCertStore, Problem> {
        const REMEDY: &str = "keep only certificates of authorities in it";
        let mut roots = RootCertStore::empty();
        for (index, der) in self.certificates(path)?.into_iter().enumerate() {
            let bad = |why: &str| {
                let what = format!("has a certificate (number {}) {why}", index + 1);
                Problem::new(path, what, REMEDY)
            };
            let parsed = parse(&der).ok_or_else(|| bad("that cannot vouch"))?;
            warnings.extend(self.untimely(path, &parsed));
            match no_authority(&parsed) {
                None => roots.add(der).map_err(|_| bad("that cannot vouch"))?,
                Some(_) if pin(&der, &parsed) => {}
                Some(why) => return Err(bad(&format!("{why}{}", subject_of(&parsed)))),
            }
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
            io::ErrorKind::InvalidInput => {
                let what = "is no file but a folder, a pipe or the like";
                Problem::new(path, what, "name the file itself")
            }
            _ => Problem::new(path, format!("cannot be read: {error}"), remedy(error)),
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

/// What to do about a file that cannot be read. Its path is seldom at fault where it could be once.
fn remedy(error: &io::Error) -> &'static str {
    const DISK: [Errno; 4] = [Errno::EIO, Errno::ESTALE, Errno::ETIMEDOUT, Errno::ENOTCONN];
    let is_of_the_disk = |number| DISK.contains(&Errno::from_raw(number));
    if is_exhausted(error) {
        "raise the limit on open files, or wait until there are fewer"
    } else if error.kind() == io::ErrorKind::TimedOut
        || error.raw_os_error().is_some_and(is_of_the_disk)
    {
        "look after the disk, or the network, that it is on"
    } else {
        "correct the path"
    }
}

/// Why a certificate may not vouch for others, and what to do, if so (RFC 5280 §6.1.4 (k), (n)). Those
/// of version 1 have nothing that would say so.
fn no_authority(certificate: &X509Certificate<'_>) -> Option<&'static str> {
    if certificate.version() != X509Version::V3 {
        return None;
    }
    let is_ca = matches!(certificate.basic_constraints(), Ok(Some(it)) if it.value.ca);
    let may_sign = match certificate.key_usage() {
        Ok(usage) => usage.is_none_or(|usage| usage.value.key_cert_sign()),
        Err(_) => false,
    };
    match (is_ca, may_sign) {
        (false, _) => Some("that is of no authority (basicConstraints without CA:TRUE)"),
        (true, false) => Some("that may not sign others (keyUsage without keyCertSign)"),
        (true, true) => None,
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
