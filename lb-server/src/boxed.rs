//! Futures that are made where they stay.

use std::pin::Pin;

/// A future in a box, which it is made in: `Box::pin` makes it on the stack and copies all of it, the room for what
/// it has not come to yet included.
pub(crate) fn in_box<F>(make: impl FnOnce() -> F) -> Pin<Box<F>> {
    Box::into_pin(Box::write(Box::new_uninit(), make()))
}
