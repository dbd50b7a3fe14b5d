//! What is left to do when a signal ends a benchmark: nothing is dropped then.

use std::sync::{Mutex, Once};
use std::{panic, thread};

use signal_hook::consts::{SIGINT, SIGTERM};

type Duty = Box<dyn FnOnce() + Send>;

static DUTIES: Mutex<Vec<Duty>> = Mutex::new(Vec::new());
static LISTENS: Once = Once::new();

/// Has it done, after what was asked for before, when SIGINT or SIGTERM comes; then the program ends.
pub fn on_interrupt(duty: impl FnOnce() + Send + 'static) {
    DUTIES.lock().unwrap().push(Box::new(duty));
    LISTENS.call_once(|| {
        let mut signals = signal_hook::iterator::Signals::new([SIGINT, SIGTERM]).unwrap();
        thread::spawn(move || {
            let signal = signals.forever().next().unwrap_or(SIGINT);
            let own = thread::current().id();
            // Whatever fails from here on does so because things are taken away from it: let it wait for the end.
            panic::set_hook(Box::new(move |_| {
                while thread::current().id() != own {
                    thread::park();
                }
            }));
            DUTIES.lock().unwrap().drain(..).for_each(|duty| duty());
            std::process::exit(128 + signal);
        });
    });
}
