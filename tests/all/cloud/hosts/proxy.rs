//! What is between a host and the gateways of its store: a relay that loses answers, and delivers requests when their
//! sender has long been killed.
//!
//! Each host has a relay of its own, so that a request's sender is known. A request goes to the next gateway in turn, as
//! behind a load balancer that has not noticed yet that one is gone.

use std::collections::BTreeMap;
use std::io::{BufReader, ErrorKind, Write as _};
use std::net::{TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use super::wire::{Message, read_answer, read_request};
use crate::lake::turns::Dice;

/// A gateway that does not answer for so long never will.
const ANSWER_MAX: Duration = Duration::from_secs(60);
/// A trap that has sprung waits so long for its sender's death.
const DEATH_MAX: Duration = Duration::from_secs(10);

/// Which request of a host is the last one that it sends before it is killed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Trap {
    /// An entry, which arrives after its sender's death.
    EntryHeld,
    /// An entry, which has arrived.
    EntryDone,
    /// Another request that changes something; it arrives after its sender's death.
    OtherHeld,
}

/// What happens to a request.
#[derive(Clone, Copy, Debug)]
enum Fate {
    /// It is passed on, and so is its answer.
    Passed,
    /// It never arrives.
    Refused,
    /// It is answered with a gateway's 503, and never arrives.
    Busy,
    /// It arrives, and its answer is lost.
    Unanswered,
    /// It arrives so much later. Its sender waits as long as it likes.
    Held(Duration),
    /// Its sender is told nothing at once, and it arrives so much later.
    Late(Duration),
    /// The same, when all hosts have ended.
    AtTheEnd,
    Trapped(Trap),
}

/// Of 1000 requests.
#[derive(Clone, Copy)]
pub struct Rates {
    refused: u64,
    busy: u64,
    unanswered: u64,
    /// Of those that change something.
    held: u64,
    late: u64,
}

impl Rates {
    pub const CALM: Rates = Rates { refused: 0, busy: 0, unanswered: 0, held: 0, late: 0 };
    pub const STORM: Rates = Rates { refused: 8, busy: 4, unanswered: 12, held: 12, late: 8 };
}

/// How often each has happened.
#[derive(Default)]
pub struct Counts {
    pub requests: AtomicU64,
    pub lost: AtomicU64,
    pub unanswered: AtomicU64,
    pub held: AtomicU64,
    /// Requests that arrived when the process that had sent them was dead.
    pub after_death: AtomicU64,
    /// Of these, requests for an entry that the store accepted.
    pub entries_after_death: AtomicU64,
    /// Gateways that were not there, or ended a connection.
    pub no_gateway: AtomicU64,
}

struct Shared {
    gateways: Vec<String>,
    turn: AtomicUsize,
    /// Passes on to another gateway what one does not answer.
    is_patient: bool,
    weather: Mutex<(Dice, Rates)>,
    counts: Counts,
    /// How often the sender was killed.
    deaths: AtomicU64,
    trap: Mutex<Option<Trap>>,
    /// The request that was trapped.
    sprung: Mutex<Option<Message>>,
    /// Requests that are still to be delivered.
    late: AtomicUsize,
    is_over: AtomicBool,
}

/// See the module. Its threads end with the test's process.
pub struct Proxy {
    pub port: u16,
    shared: Arc<Shared>,
}

impl Proxy {
    /// For a host; it begins calm.
    pub fn of_host(gateways: &[String], seed: u64) -> Proxy {
        Proxy::start(gateways, seed, false)
    }

    /// For those who look on: a request gets an answer if any gateway has one.
    pub fn of_observer(gateways: &[String]) -> Proxy {
        Proxy::start(gateways, 0, true)
    }

    fn start(gateways: &[String], seed: u64, is_patient: bool) -> Proxy {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let shared = Arc::new(Shared {
            gateways: gateways.to_vec(),
            turn: AtomicUsize::new(0),
            is_patient,
            weather: Mutex::new((Dice(seed), Rates::CALM)),
            counts: Counts::default(),
            deaths: AtomicU64::new(0),
            trap: Mutex::new(None),
            sprung: Mutex::new(None),
            late: AtomicUsize::new(0),
            is_over: AtomicBool::new(false),
        });
        let proxy = Proxy { port, shared: Arc::clone(&shared) };
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let shared = Arc::clone(&shared);
                std::thread::spawn(move || serve(&shared, &stream));
            }
        });
        proxy
    }

    pub fn weather(&self, rates: Rates) {
        self.shared.weather.lock().unwrap().1 = rates;
    }

    pub fn counts(&self) -> &Counts {
        &self.shared.counts
    }

    /// The sender of everything so far is dead.
    pub fn has_died(&self) {
        self.shared.deaths.fetch_add(1, Ordering::SeqCst);
    }

    /// Waits until a request of this kind was trapped, and returns it. The sender is to be killed then.
    pub fn trap(&self, trap: Trap, patience: Duration) -> Option<Message> {
        *self.shared.trap.lock().unwrap() = Some(trap);
        let until = Instant::now() + patience;
        loop {
            let sprung = self.shared.sprung.lock().unwrap().take();
            if sprung.is_some() || Instant::now() > until {
                *self.shared.trap.lock().unwrap() = None;
                return sprung;
            }
            std::thread::sleep(Duration::from_millis(2));
        }
    }

    /// Delivers what was to arrive when all hosts have ended, and waits until nothing is under way.
    pub fn deliver_all(&self) {
        self.shared.is_over.store(true, Ordering::SeqCst);
        while self.shared.late.load(Ordering::SeqCst) > 0 {
            std::thread::sleep(Duration::from_millis(10));
        }
    }
}

/// Connections to gateways, by their number.
type Upstreams = BTreeMap<usize, BufReader<TcpStream>>;

fn serve(shared: &Arc<Shared>, client: &TcpStream) {
    let (mut from, mut to, mut upstreams) = (BufReader::new(client), client, Upstreams::new());
    let _ = client.set_nodelay(true);
    while let Ok(Some(request)) = read_request(&mut from) {
        shared.counts.requests.fetch_add(1, Ordering::Relaxed);
        let (fate, deaths) = (shared.fate(&request), shared.deaths.load(Ordering::SeqCst));
        let is_answered = match fate {
            Fate::Passed | Fate::Held(_) => true,
            Fate::Unanswered => false,
            Fate::Refused => return,
            Fate::Busy => {
                let _ = to.write_all(b"HTTP/1.1 503 Service Unavailable\r\nContent-Length: 0\r\n\r\n");
                continue;
            }
            Fate::Late(time) => return shared.deliver_late(request, deaths, Some(time)),
            Fate::AtTheEnd => return shared.deliver_late(request, deaths, None),
            Fate::Trapped(Trap::EntryDone) => return shared.spring_when_done(request, deaths, &mut upstreams),
            Fate::Trapped(_) => return shared.spring_and_hold(request, deaths, &mut upstreams),
        };
        if let Fate::Held(time) = fate {
            std::thread::sleep(time);
        }
        let answer = shared.forward(&request, deaths, &mut upstreams);
        let Some(answer) = answer.filter(|_| is_answered) else { return };
        if answer.send(&mut to).is_err() {
            return;
        }
    }
}

fn changes_something(request: &Message) -> bool {
    matches!(request.method(), "PUT" | "POST" | "DELETE")
}

fn is_entry(request: &Message) -> bool {
    request.method() == "PUT" && request.target().contains("/.csv-ingestor/log/")
}

impl Shared {
    fn fate(&self, request: &Message) -> Fate {
        if let Some(trap) = self.trapped(request) {
            return Fate::Trapped(trap);
        }
        let mut weather = self.weather.lock().unwrap();
        let (dice, rates) = &mut *weather;
        let count = |counter: &AtomicU64, fate| {
            counter.fetch_add(1, Ordering::Relaxed);
            fate
        };
        if dice.chance(rates.refused) {
            return count(&self.counts.lost, Fate::Refused);
        }
        if dice.chance(rates.busy) {
            return count(&self.counts.lost, Fate::Busy);
        }
        if dice.chance(rates.unanswered) {
            return count(&self.counts.unanswered, Fate::Unanswered);
        }
        if changes_something(request) && dice.chance(rates.held) {
            return count(&self.counts.held, Fate::Held(Duration::from_millis(100 + dice.below(4000))));
        }
        if changes_something(request) && dice.chance(rates.late) {
            let fate = match dice.below(4) {
                0 => Fate::AtTheEnd,
                _ => Fate::Late(Duration::from_millis(dice.below(8000))),
            };
            return count(&self.counts.held, fate);
        }
        Fate::Passed
    }

    fn trapped(&self, request: &Message) -> Option<Trap> {
        let mut trap = self.trap.lock().unwrap();
        trap.take_if(|trap| match trap {
            Trap::EntryHeld | Trap::EntryDone => is_entry(request),
            Trap::OtherHeld => changes_something(request) && !is_entry(request),
        })
    }

    /// In a thread of its own.
    fn deliver_late(self: &Arc<Shared>, request: Message, deaths: u64, time: Option<Duration>) {
        let shared = Arc::clone(self);
        shared.late.fetch_add(1, Ordering::SeqCst);
        std::thread::spawn(move || {
            let until = time.map(|time| Instant::now() + time);
            while !shared.is_over.load(Ordering::SeqCst) && until.is_none_or(|until| Instant::now() < until) {
                std::thread::sleep(Duration::from_millis(20));
            }
            shared.forward(&request, deaths, &mut Upstreams::new());
            shared.late.fetch_sub(1, Ordering::SeqCst);
        });
    }

    fn spring_when_done(&self, request: Message, deaths: u64, upstreams: &mut Upstreams) {
        let answer = self.forward(&request, deaths, upstreams);
        if answer.is_some_and(|answer| answer.status() < 300) {
            *self.sprung.lock().unwrap() = Some(request);
            self.await_death(deaths);
        }
    }

    fn spring_and_hold(&self, request: Message, deaths: u64, upstreams: &mut Upstreams) {
        let copy = request.clone();
        self.late.fetch_add(1, Ordering::SeqCst);
        *self.sprung.lock().unwrap() = Some(copy);
        self.await_death(deaths);
        let time = self.weather.lock().unwrap().0.below(4000);
        std::thread::sleep(Duration::from_millis(time));
        self.forward(&request, deaths, upstreams);
        self.late.fetch_sub(1, Ordering::SeqCst);
    }

    fn await_death(&self, deaths: u64) {
        let until = Instant::now() + DEATH_MAX;
        while self.deaths.load(Ordering::SeqCst) == deaths && Instant::now() < until {
            std::thread::sleep(Duration::from_millis(2));
        }
    }

    /// None if there is no answer.
    fn forward(&self, request: &Message, deaths: u64, upstreams: &mut Upstreams) -> Option<Message> {
        let is_dead = self.deaths.load(Ordering::SeqCst) > deaths;
        if is_dead {
            self.counts.after_death.fetch_add(1, Ordering::Relaxed);
        }
        for _ in 0..if self.is_patient { 2 * self.gateways.len() } else { 1 } {
            let number = self.turn.fetch_add(1, Ordering::Relaxed) % self.gateways.len();
            match pass_on(request, &self.gateways[number], upstreams.remove(&number)) {
                Ok((answer, upstream)) => {
                    upstreams.insert(number, upstream);
                    if is_dead && is_entry(request) && answer.status() < 300 {
                        self.counts.entries_after_death.fetch_add(1, Ordering::Relaxed);
                    }
                    return Some(answer);
                }
                Err(_) => drop(self.counts.no_gateway.fetch_add(1, Ordering::Relaxed)),
            }
        }
        None
    }
}

/// Returns the connection, too.
fn pass_on(
    request: &Message,
    gateway: &str,
    known: Option<BufReader<TcpStream>>,
) -> std::io::Result<(Message, BufReader<TcpStream>)> {
    let mut upstream = match known.filter(|known| is_alive(known.get_ref())) {
        Some(known) => known,
        None => {
            let stream = TcpStream::connect(gateway)?;
            stream.set_nodelay(true)?;
            stream.set_read_timeout(Some(ANSWER_MAX))?;
            BufReader::new(stream)
        }
    };
    request.send(upstream.get_mut())?;
    let answer = read_answer(&mut upstream, request.method())?;
    Ok((answer, upstream))
}

/// False if the gateway has ended the connection since.
fn is_alive(stream: &TcpStream) -> bool {
    let _ = stream.set_nonblocking(true);
    let peeked = stream.peek(&mut [0]);
    let _ = stream.set_nonblocking(false);
    matches!(peeked, Err(error) if error.kind() == ErrorKind::WouldBlock)
}
