//! How a body breaks off.

use std::error::Error;
use std::sync::LazyLock;

/// What a backend over HTTP/2 is told of a request that does not come to its end: it is not needed any more
/// (RFC 9113 §7).
static CANCEL: LazyLock<h2::Error> = LazyLock::new(|| h2::Reason::CANCEL.into());

/// Why a body could not go on: then its connection is closed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Broken {
    /// The client's side of a request body failed.
    Client,
    /// The client sent what is no body.
    Malformed,
    /// The client sent nothing for too long.
    ClientIdle,
    /// The client sent more than its service takes.
    TooLarge,
    /// Another attempt took over.
    Superseded,
    /// The backend's side of a response body failed.
    Backend,
    /// The rest did not come in time.
    Late,
}

impl std::fmt::Display for Broken {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let said = match self {
            Self::Client => "the client broke off its request",
            Self::Malformed => "the client sent what is no body",
            Self::ClientIdle => "the client sent nothing for too long",
            Self::TooLarge => "the client sent more than is taken here",
            Self::Superseded => "another attempt took over",
            Self::Backend => "the backend broke off its response",
            Self::Late => "the rest did not come in time",
        };
        out.write_str(said)
    }
}

impl Error for Broken {
    /// hyper looks here for what it tells the other side, and says INTERNAL_ERROR where there is nothing.
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        match self {
            Self::Client
            | Self::Malformed
            | Self::ClientIdle
            | Self::TooLarge
            | Self::Superseded => Some(&*CANCEL),
            Self::Backend | Self::Late => None,
        }
    }
}
