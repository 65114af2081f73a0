//! Files are looked at and read on a thread of its own: a disk that does not answer, or a network that
//! looks like one, keeps nobody else waiting, and the process from ending least of all.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::Builder;
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::time::timeout;

/// How long a file may take.
pub(crate) const ANSWER_MAX: Duration = Duration::from_secs(10);
/// Files that threads may be stuck at. While there are so many, nothing else is read.
const STUCK_MAX: usize = 64;

/// Whoever looks at files.
#[derive(Default)]
pub(crate) struct Aside {
    /// Where a thread is right now. Nobody is sent after it.
    at: Arc<Mutex<BTreeSet<PathBuf>>>,
}

impl Aside {
    /// What `act` makes of each file. One of which there is no answer in time is not among them, nor
    /// are those behind it; its thread is left to itself, and ends when the answer comes, or with the
    /// process. Next time those behind it are asked without it.
    pub(crate) async fn each<T: Send + 'static>(
        &self,
        mut files: BTreeSet<PathBuf>,
        act: impl Fn(&Path) -> T + Send + 'static,
    ) -> BTreeMap<PathBuf, T> {
        let mut answered = BTreeMap::new();
        {
            let at = locked(&self.at);
            if at.len() >= STUCK_MAX {
                return answered;
            }
            files.retain(|file| !at.contains(file));
        }
        if files.is_empty() {
            return answered;
        }
        let (answers, mut hear) = mpsc::channel(1);
        let at = Arc::clone(&self.at);
        #[expect(clippy::disallowed_methods, reason = "a disk may take its time")]
        let thread = Builder::new().name("files".to_owned()).spawn(move || {
            for file in files {
                locked(&at).insert(file.clone());
                let answer = act(&file);
                locked(&at).remove(&file);
                // Nobody waits any more once the time is over.
                if answers.blocking_send((file, answer)).is_err() {
                    return;
                }
            }
        });
        if thread.is_ok() {
            while let Ok(Some((file, answer))) = timeout(ANSWER_MAX, hear.recv()).await {
                answered.insert(file, answer);
            }
        }
        answered
    }
}

fn locked(at: &Mutex<BTreeSet<PathBuf>>) -> MutexGuard<'_, BTreeSet<PathBuf>> {
    at.lock().unwrap_or_else(PoisonError::into_inner)
}

/// What was read of a file, for whoever asks now.
pub(crate) fn answer(
    answered: &BTreeMap<PathBuf, io::Result<Vec<u8>>>,
    file: &Path,
) -> io::Result<Vec<u8>> {
    match answered.get(file) {
        Some(Ok(bytes)) => Ok(bytes.clone()),
        Some(Err(error)) => Err(again(error)),
        None => Err(silence()),
    }
}

/// A file does not answer.
pub(crate) fn silence() -> io::Error {
    let what = format!("no answer within {} s", ANSWER_MAX.as_secs());
    io::Error::new(io::ErrorKind::TimedOut, what)
}

/// The same error once more.
fn again(error: &io::Error) -> io::Error {
    match error.raw_os_error() {
        Some(number) => io::Error::from_raw_os_error(number),
        None => io::Error::new(error.kind(), error.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::sync_channel;

    use tokio::time::Instant;

    use super::*;

    fn named(names: &[&str]) -> BTreeSet<PathBuf> {
        names.iter().map(PathBuf::from).collect()
    }

    #[tokio::test(start_paused = true)]
    async fn a_file_that_does_not_answer_is_given_up_and_asked_again_when_it_has_answered() {
        let (aside, (answer, hangs)) = (Aside::default(), sync_channel::<()>(0));
        let hangs = Mutex::new(hangs);
        let began = Instant::now();
        // Until the test lets go of the other end.
        let read = move |_: &Path| hangs.lock().unwrap().recv().is_ok();
        assert_eq!(aside.each(named(&["hangs"]), read).await, BTreeMap::new());
        assert_eq!(began.elapsed(), ANSWER_MAX);
        // The paused clock may have been faster than the thread.
        while locked(&aside.at).is_empty() {
            tokio::task::yield_now().await;
        }

        tokio::time::resume();
        let others = aside.each(named(&["answers", "hangs"]), |_| ()).await;
        assert_eq!(others.into_keys().collect::<BTreeSet<_>>(), named(&["answers"]));

        drop(answer);
        while !locked(&aside.at).is_empty() {
            tokio::task::yield_now().await;
        }
        let both = aside.each(named(&["answers", "hangs"]), |_| ()).await;
        assert_eq!(both.len(), 2, "it answers again");
    }

    #[tokio::test]
    async fn so_many_files_may_hang_and_no_more_threads() {
        let aside = Aside::default();
        locked(&aside.at).extend((0..STUCK_MAX).map(|nth| PathBuf::from(nth.to_string())));
        assert!(aside.each(named(&["another"]), |_| ()).await.is_empty());
    }
}
