//! The text of a file that somebody else has read, or why there is none, in words.

use std::io::{Error, ErrorKind};

/// What was `read` of the file that is called `name`, as text.
///
/// # Errors
/// Why it could not be read, or the line and column where it ceases to be UTF-8, and what to do.
///
/// ```
/// let read = std::fs::read("no/such/lb.toml");
/// assert_eq!(
///     lb_config::text("no/such/lb.toml", read).unwrap_err(),
///     "no/such/lb.toml: is not there; check its path"
/// );
/// assert_eq!(
///     lb_config::text("lb.toml", Ok(b"# b\xe9ta".to_vec())).unwrap_err(),
///     "lb.toml:1:4: is not UTF-8 from here on; save the file as UTF-8"
/// );
/// ```
pub fn text(name: &str, read: Result<Vec<u8>, Error>) -> Result<String, String> {
    let bytes = read.map_err(|error| unreadable(name, &error))?;
    String::from_utf8(bytes).map_err(|error| {
        let good = String::from_utf8_lossy(&error.as_bytes()[..error.utf8_error().valid_up_to()]);
        let line = good.matches('\n').count() + 1;
        let column = good.rsplit('\n').next().unwrap_or_default().chars().count() + 1;
        format!("{name}:{line}:{column}: is not UTF-8 from here on; save the file as UTF-8")
    })
}

/// Why the file or folder that is called `name` cannot be read, and what to do.
pub fn unreadable(name: &str, error: &Error) -> String {
    match error.kind() {
        ErrorKind::NotFound => format!("{name}: is not there; check its path"),
        ErrorKind::IsADirectory => format!("{name}: is a folder; name a file in it"),
        ErrorKind::PermissionDenied => {
            format!("{name}: may not be read by this user; allow it, or run as another")
        }
        _ => format!("{name}: {error}"),
    }
}
