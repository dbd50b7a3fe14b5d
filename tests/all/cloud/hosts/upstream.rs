//! What is sent, when, and to which hosts: new contents, and old ones again under other names.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::path::PathBuf;
use std::sync::Mutex;
use std::time::{Duration, Instant};

use csv_ingestor::types::Sha256;

use crate::cloud::sha256;
use crate::harness::csv;
use crate::lake::turns::Dice;

/// A content that is sent again comes so many contents later, at most.
const AGAIN_AFTER_MAX: u64 = 60;

/// Distinct content. Most are small, every fiftieth is some 100 KiB, and every three hundredth goes up in parts.
fn content(seed: u64, number: u64) -> Vec<u8> {
    let mut content = csv(seed.wrapping_mul(1_000_003).wrapping_add(number), (number % 7) as usize * 900);
    let size = match number {
        _ if number % 300 == 7 => (9 << 20) + (number % 13) as usize * (1 << 20),
        _ if number % 50 == 3 => (100 << 10) + number as usize,
        _ => content.len(),
    };
    content.resize(size, b'\n');
    content
}

#[derive(Default)]
struct Sent {
    contents: BTreeMap<Sha256, u64>,
    /// Numbers of contents, by host.
    to: BTreeMap<usize, BTreeSet<u64>>,
    files: u64,
}

/// See the module.
pub struct Upstream {
    seed: u64,
    files: u64,
    /// By host; none of a host that is dead.
    stagings: Mutex<Vec<Option<PathBuf>>>,
    sent: Mutex<Sent>,
}

impl Upstream {
    pub fn new(seed: u64, files: u64, stagings: Vec<PathBuf>) -> Upstream {
        let stagings = stagings.into_iter().map(Some).collect();
        Upstream { seed, files, stagings: Mutex::new(stagings), sent: Mutex::new(Sent::default()) }
    }

    /// Every content that was ever sent.
    pub fn contents(&self) -> BTreeSet<Sha256> {
        self.sent.lock().unwrap().contents.keys().copied().collect()
    }

    /// Files that were sent.
    pub fn files(&self) -> u64 {
        self.sent.lock().unwrap().files
    }

    /// From now on a host gets nothing.
    pub fn is_dead(&self, host: usize) {
        self.stagings.lock().unwrap()[host] = None;
    }

    /// A new host; returns its number.
    pub fn has_come(&self, staging: PathBuf) -> usize {
        let mut stagings = self.stagings.lock().unwrap();
        stagings.push(Some(staging));
        stagings.len() - 1
    }

    /// Sends a content to any living host.
    fn send(&self, number: u64, dice: &mut Dice) {
        self.send_but(number, dice, None);
    }

    /// The same, but not to this host. The file has its name only when it is whole. Returns the host.
    fn send_but(&self, number: u64, dice: &mut Dice, but: Option<usize>) -> usize {
        let content = content(self.seed, number);
        // A host dies between two files.
        let stagings = self.stagings.lock().unwrap();
        let alive: Vec<usize> = (0..stagings.len()).filter(|at| stagings[*at].is_some() && Some(*at) != but).collect();
        let host = alive[dice.below(alive.len() as u64) as usize];
        let staging = stagings[host].as_ref().unwrap();
        let mut sent = self.sent.lock().unwrap();
        sent.files += 1;
        sent.contents.insert(sha256(&content), number);
        sent.to.entry(host).or_default().insert(number);
        let (hidden, name) = (format!(".{}", sent.files), format!("{number}-{}.csv", sent.files));
        std::fs::write(staging.join(&hidden), content).unwrap();
        std::fs::rename(staging.join(hidden), staging.join(name)).unwrap();
        host
    }

    /// Sends everything within this time.
    pub fn run(&self, time: Duration) {
        let (mut dice, mut again, began) = (Dice(self.seed), VecDeque::new(), Instant::now());
        for number in 0..self.files {
            let due = time.mul_f64(number as f64 / self.files as f64);
            std::thread::sleep(due.saturating_sub(began.elapsed()));
            let host = self.send_but(number, &mut dice, None);
            match dice.below(10) {
                0 | 1 => _ = self.send_but(number, &mut dice, Some(host)),
                2 => again.push_back((number + dice.below(AGAIN_AFTER_MAX), number)),
                3 => (0..2).for_each(|_| self.send(number, &mut dice)),
                _ => {}
            }
            while again.front().is_some_and(|(due, _)| *due <= number) {
                again.pop_front().into_iter().for_each(|(_, old)| self.send(old, &mut dice));
            }
        }
        again.into_iter().for_each(|(_, old)| self.send(old, &mut dice));
    }

    /// Sends again what a host has got, but for the contents in `claimed`: nobody else has to have it. Returns how many.
    pub fn resend(&self, host: usize, claimed: &BTreeSet<Sha256>) -> u64 {
        let numbers: Vec<u64> = {
            let sent = self.sent.lock().unwrap();
            let of_host = sent.to.get(&host).cloned().unwrap_or_default();
            let lost = sent
                .contents
                .iter()
                .filter(|(content, number)| of_host.contains(number) && !claimed.contains(*content));
            lost.map(|(_, number)| *number).collect()
        };
        let mut dice = Dice(self.seed + 1);
        numbers.iter().for_each(|number| self.send(*number, &mut dice));
        numbers.len() as u64
    }

    /// The contents of these that were sent to this host alone.
    pub fn only_at(&self, host: usize, contents: &BTreeSet<Sha256>) -> BTreeSet<Sha256> {
        let sent = self.sent.lock().unwrap();
        let elsewhere =
            |number: &u64| sent.to.iter().any(|(other, numbers)| *other != host && numbers.contains(number));
        contents.iter().filter(|content| !elsewhere(&sent.contents[content])).copied().collect()
    }
}
