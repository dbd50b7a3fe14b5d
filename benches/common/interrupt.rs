//! Clean-up when a signal ends a benchmark: destructors do not run then.

use std::sync::{Mutex, Once};
use std::{panic, thread};

use signal_hook::consts::{SIGINT, SIGTERM};

type Duty = Box<dyn FnOnce() + Send>;

static DUTIES: Mutex<Vec<Duty>> = Mutex::new(Vec::new());
static LISTENS: Once = Once::new();

/// Runs `duty`, after those registered before it, when SIGINT or SIGTERM comes; then the program ends.
pub fn on_interrupt(duty: impl FnOnce() + Send + 'static) {
    DUTIES.lock().unwrap().push(Box::new(duty));
    LISTENS.call_once(|| {
        let mut signals = signal_hook::iterator::Signals::new([SIGINT, SIGTERM]).unwrap();
        thread::spawn(move || {
            let signal = signals.forever().next().unwrap_or(SIGINT);
            let own = thread::current().id();
            // From here on other threads fail only because of this clean-up: let them wait for the end.
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
