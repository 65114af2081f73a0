//! What passes, what is refused, and that it does not matter how the bytes are cut.
