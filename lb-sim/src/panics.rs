//! Panics in tasks: tokio keeps them to itself, and a run must not.

use std::cell::RefCell;
use std::panic;
use std::sync::Once;

thread_local! {
    /// The first panic on this thread since it was told to forget.
    static FIRST: RefCell<Option<String>> = const { RefCell::new(None) };
}

/// Forgets what panicked, and listens from now on. A run keeps to one thread, so runs on several
/// threads do not hear each other.
pub(crate) fn forget() {
    static LISTEN: Once = Once::new();
    LISTEN.call_once(|| {
        let before = panic::take_hook();
        panic::set_hook(Box::new(move |info| {
            FIRST.with_borrow_mut(|first| first.get_or_insert_with(|| info.to_string()).len());
            before(info);
        }));
    });
    FIRST.take();
}

/// The first panic since, if there was one.
pub(crate) fn first() -> Option<String> {
    FIRST.with_borrow(Clone::clone)
}
