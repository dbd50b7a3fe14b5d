//! A second thread that publishes batches, in turns with the committer.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::Scope;

use csv_ingestor::fs::sim::SimFs;
use csv_ingestor::pipeline::Error;
use csv_ingestor::pipeline::commit::Committer;
use csv_ingestor::pipeline::commit::publisher::{Done, Hands, Job, Publisher};

use super::turns::{Meanwhile, Publishing};

/// The thread; when this is dropped, the thread has ended.
pub struct TurnHands<'a, 'scope, 'env> {
    meanwhile: &'a Meanwhile,
    scope: &'scope Scope<'scope, 'env>,
    /// The thread is to end.
    gives_up: Arc<AtomicBool>,
    at_rest: Option<Publisher<SimFs>>,
    at_work: Option<Publishing<'scope>>,
}

impl<'a, 'scope, 'env> TurnHands<'a, 'scope, 'env> {
    pub fn new(
        meanwhile: &'a Meanwhile,
        scope: &'scope Scope<'scope, 'env>,
        committer: &Committer<SimFs>,
    ) -> TurnHands<'a, 'scope, 'env> {
        let gives_up = Arc::default();
        let at_rest = Some(committer.publisher(Arc::clone(&gives_up)));
        TurnHands { meanwhile, scope, gives_up, at_rest, at_work: None }
    }
}

impl Hands<SimFs> for TurnHands<'_, '_, '_> {
    fn pass(&mut self, job: Job<SimFs>) -> Result<(), Error> {
        let publisher = self.at_rest.take().expect("one job at a time");
        self.at_work = Some(self.meanwhile.publish(self.scope, publisher, job));
        Ok(())
    }

    fn wait(&mut self) -> Result<Done<SimFs>, Error> {
        self.meanwhile.await_publisher();
        let (publisher, done) = self.at_work.take().expect("a job").join().expect("no panic");
        self.at_rest = Some(publisher);
        done
    }
}

impl Drop for TurnHands<'_, '_, '_> {
    fn drop(&mut self) {
        self.gives_up.store(true, Ordering::Relaxed);
        if self.at_work.is_some() {
            let _ = self.wait();
        }
    }
}
