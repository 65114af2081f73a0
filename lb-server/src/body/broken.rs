//! How a body breaks off.

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

impl std::error::Error for Broken {}
