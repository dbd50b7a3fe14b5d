//! The thread on which all requests of this process travel.
//!
//! Invariants:
//! - Callers block; everything that does not is on this one thread, and nowhere else in the program.
//! - A call whose caller waits is never dropped: it ends with a result, or with its time.

use std::sync::OnceLock;
use std::sync::mpsc::sync_channel;

use tokio::runtime::{Builder, Handle};

use super::fault::Fault;

static HANDLE: OnceLock<Result<Handle, String>> = OnceLock::new();

fn start() -> Result<Handle, String> {
    let runtime = Builder::new_current_thread().enable_all().build().map_err(|error| error.to_string())?;
    let handle = runtime.handle().clone();
    let forever = move || runtime.block_on(std::future::pending::<()>());
    std::thread::Builder::new().name("object-store".to_owned()).spawn(forever).map_err(|error| error.to_string())?;
    Ok(handle)
}

/// The thread, which is started by whoever needs it first.
///
/// # Errors
/// [`Fault::Client`] if it cannot be started.
pub(super) fn worker() -> Result<Handle, Fault> {
    HANDLE.get_or_init(start).clone().map_err(Fault::Client)
}

/// Waits for the result of work on that thread; None if the thread is gone.
pub(super) fn wait<T: Send + 'static>(worker: &Handle, work: impl Future<Output = T> + Send + 'static) -> Option<T> {
    let (sender, receiver) = sync_channel(1);
    worker.spawn(async move {
        // Nobody waits any more: then nobody needs it.
        let _ = sender.send(work.await);
    });
    receiver.recv().ok()
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, Instant};

    use super::*;

    #[test]
    fn many_callers_wait_at_once() {
        let worker = worker().unwrap();
        let began = Instant::now();
        std::thread::scope(|scope| {
            for number in 0..64 {
                let worker = &worker;
                scope.spawn(move || {
                    let work = async move {
                        tokio::time::sleep(Duration::from_millis(200)).await;
                        number
                    };
                    assert_eq!(wait(worker, work), Some(number));
                });
            }
        });
        assert!(began.elapsed() < Duration::from_secs(5), "they waited one after the other");
    }
}
