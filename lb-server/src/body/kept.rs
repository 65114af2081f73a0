//! What is kept of a body, so that it can be sent again.

use bytes::Bytes;

use crate::http1::settled;

/// The body from its first byte on.
pub(super) enum Kept {
    /// At most one piece, as it came.
    One(Bytes),
    /// Several, put together.
    Many(Vec<u8>),
}

impl Kept {
    pub(super) fn bytes(&self) -> &[u8] {
        match self {
            Self::One(data) => data,
            Self::Many(data) => data,
        }
    }

    /// And behind it `more`.
    pub(super) fn and(self, more: &Bytes) -> Self {
        match self {
            Self::One(data) if data.is_empty() => Self::One(settled(more)),
            Self::One(data) => Self::Many([&data[..], more].concat()),
            Self::Many(mut data) => {
                data.extend_from_slice(more);
                Self::Many(data)
            }
        }
    }

    /// What is kept beyond the first `sent` bytes.
    pub(super) fn beyond(&self, sent: usize) -> Option<Bytes> {
        match self {
            Self::One(data) => (sent < data.len()).then(|| data.slice(sent..)),
            Self::Many(data) => (sent < data.len()).then(|| Bytes::copy_from_slice(&data[sent..])),
        }
    }
}
