//! Why a handshake failed: whose fault it is, in one word, and what rustls says in many.

use std::fmt;
use std::io;

use lb_core::Failure;
use rustls::pki_types::UnixTime;
use rustls::{AlertDescription, CertificateError, Error, InvalidMessage};

/// A handshake that failed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HandshakeError {
    /// In one word, for metrics.
    pub why: Why,
    /// In many, for logs.
    pub detail: String,
}

/// Why a handshake failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Why {
    /// Nobody that is trusted vouches for the peer's certificate.
    NotTrusted,
    /// The peer's certificate is for another name.
    WrongName,
    /// The peer's certificate has expired, or does not count yet.
    Expired,
    /// The peer showed no certificate and has to.
    NoCertificate,
    /// The peer refused, and said so: it does not like our certificate or version.
    Refused,
    /// The two have no version, cipher or protocol in common.
    Incompatible,
    /// The peer does not speak TLS.
    NotTls,
    /// The peer broke the rules of TLS.
    Broken,
    /// The connection ended.
    Closed,
}

impl Why {
    /// All of them, in order.
    pub const ALL: [Self; 9] = [
        Self::NotTrusted,
        Self::WrongName,
        Self::Expired,
        Self::NoCertificate,
        Self::Refused,
        Self::Incompatible,
        Self::NotTls,
        Self::Broken,
        Self::Closed,
    ];

    /// As written in metrics and logs.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::NotTrusted => "not_trusted",
            Self::WrongName => "wrong_name",
            Self::Expired => "expired",
            Self::NoCertificate => "no_certificate",
            Self::Refused => "refused",
            Self::Incompatible => "incompatible",
            Self::NotTls => "not_tls",
            Self::Broken => "broken",
            Self::Closed => "closed",
        }
    }
}

impl HandshakeError {
    pub(super) fn new(error: &io::Error) -> Self {
        let why = inner(error).map_or(Why::Closed, why);
        Self { why, detail: error.to_string() }
    }

    /// What an error on an open connection says about its handshake, if it does. With TLS 1.3 the
    /// client's handshake is over before the server has looked at the client's certificate: a
    /// refusal arrives where the first byte of a response is expected (RFC 8446 §4.4.2.4). Nothing
    /// of the request was acted on then.
    pub fn refusal(error: &io::Error) -> Option<Self> {
        let is_refused =
            matches!(inner(error)?, Error::AlertReceived(alert) if is_about_us(*alert));
        is_refused.then(|| Self { why: Why::Refused, detail: error.to_string() })
    }

    /// What became of the attempt. The request had not been written, so it may go elsewhere.
    pub const fn failure(&self) -> Failure {
        Failure::TlsFailed
    }
}

impl fmt::Display for HandshakeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "tls handshake failed ({}): {}", self.why.as_str(), self.detail)
    }
}

impl std::error::Error for HandshakeError {}

/// Whether a session that was resumed may go on. rustls brings the peer's certificates along without
/// looking at them again, and tickets renew each other for ever; who vouches for them cannot have
/// changed, since a reload forgets all sessions, but any of them may have expired. So they are looked at
/// as in a whole handshake.
pub(super) fn goes_on<T>(
    now: Option<UnixTime>,
    verify: impl FnOnce(UnixTime) -> Result<T, Error>,
) -> Result<(), HandshakeError> {
    let verified = now.ok_or(Error::FailedToGetCurrentTime).and_then(verify);
    verified.map(drop).map_err(|error| HandshakeError {
        why: why(&error),
        detail: format!("the session cannot go on: {error}"),
    })
}

fn inner(error: &io::Error) -> Option<&Error> {
    error.get_ref().and_then(|inner| inner.downcast_ref())
}

/// Whether an alert is about the certificate that the proxy showed, or did not. No other alert says
/// that the handshake is not over: `internal_error`, for one, may come after half a response.
const fn is_about_us(alert: AlertDescription) -> bool {
    matches!(
        alert,
        AlertDescription::AccessDenied
            | AlertDescription::BadCertificate
            | AlertDescription::CertificateExpired
            | AlertDescription::CertificateRequired
            | AlertDescription::CertificateRevoked
            | AlertDescription::CertificateUnknown
            | AlertDescription::UnknownCA
            | AlertDescription::UnsupportedCertificate
    )
}

fn why(error: &Error) -> Why {
    match error {
        Error::InvalidCertificate(certificate) => why_certificate(certificate),
        Error::NoCertificatesPresented => Why::NoCertificate,
        // Not a fatal answer to the handshake but the end of the connection (RFC 8446 §6.1).
        Error::AlertReceived(AlertDescription::CloseNotify) => Why::Closed,
        Error::AlertReceived(AlertDescription::NoApplicationProtocol) => Why::Incompatible,
        Error::AlertReceived(_) => Why::Refused,
        Error::PeerIncompatible(_) | Error::NoApplicationProtocol => Why::Incompatible,
        Error::InvalidMessage(InvalidMessage::InvalidContentType) => Why::NotTls,
        _ => Why::Broken,
    }
}

fn why_certificate(error: &CertificateError) -> Why {
    match error {
        CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. } => {
            Why::WrongName
        }
        CertificateError::Expired
        | CertificateError::ExpiredContext { .. }
        | CertificateError::NotValidYet
        | CertificateError::NotValidYetContext { .. } => Why::Expired,
        _ => Why::NotTrusted,
    }
}
