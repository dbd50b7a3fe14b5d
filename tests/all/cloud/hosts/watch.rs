//! A reader that looks at everything while it is written: what it has seen stays as it was, no line comes before its data,
//! and no content is there, or listed, twice.
//!
//! It knows neither journals nor the log: only data objects and manifest objects, as any reader does.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use csv_ingestor::store::location::Location;
use csv_ingestor::store::patient::Patient;
use csv_ingestor::store::{Kind, Result, Store};
use csv_ingestor::types::Sha256;
use serde_json::Value;

use super::plan::Plan;
use crate::cloud::sha256;
use crate::lake::turns::Dice;

/// Objects that a round reads again, at most, of those that it has read before.
const AGAIN: usize = 20;
/// Objects that are read at once.
const AT_ONCE: usize = 4;

/// What a data object is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Seen {
    pub sha256: Sha256,
    pub size: u64,
}

/// See the module.
pub struct Watch {
    url: Location,
    pub warehouse: Arc<dyn Store>,
    pub manifests: Arc<dyn Store>,
    /// By key.
    pub data: BTreeMap<String, Seen>,
    pub objects: BTreeMap<String, Sha256>,
    /// Lines, by content: the key of the data object.
    pub lines: BTreeMap<Sha256, String>,
    dice: Dice,
    pub wrong: Vec<String>,
    pub rounds: u64,
}

/// All keys with this prefix.
pub fn keys(store: &dyn Store, prefix: &str) -> Result<Vec<String>> {
    let (mut found, mut after) = (Vec::new(), String::new());
    loop {
        let page = store.list(prefix, &after)?;
        let Some(last) = page.last() else { return Ok(found) };
        after.clone_from(last);
        found.extend(page);
    }
}

/// None if there is no object.
fn get(store: &dyn Store, key: &str) -> Result<Option<Vec<u8>>> {
    match store.get(key) {
        Ok(bytes) => Ok(Some(bytes)),
        Err(error) if error.kind == Kind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

/// The SHA-256 and the size of each object, several at once; None for those that are not there.
pub fn read(store: &dyn Store, keys: &[String]) -> Result<Vec<Option<Seen>>> {
    let found = Mutex::new(vec![None; keys.len()]);
    let (found, share) = (&found, keys.len().div_ceil(AT_ONCE).max(1));
    std::thread::scope(|scope| {
        let read = |(number, keys): (usize, &[String])| -> Result<()> {
            for (at, key) in keys.iter().enumerate() {
                let seen = |bytes: Vec<u8>| Seen { sha256: sha256(&bytes), size: bytes.len() as u64 };
                let seen = get(store, key)?.map(seen);
                found.lock().unwrap()[number * share + at] = seen;
            }
            Ok(())
        };
        let readers: Vec<_> = keys.chunks(share).enumerate().map(|part| scope.spawn(move || read(part))).collect();
        readers.into_iter().try_for_each(|reader| reader.join().unwrap())
    })?;
    Ok(found.lock().unwrap().clone())
}

impl Watch {
    pub fn new(plan: &Plan, port: u16) -> Watch {
        let open = |location: &Location| -> Arc<dyn Store> {
            let pause = |tries: u32| std::thread::sleep(Duration::from_millis(500) * tries);
            Arc::new(Patient::new(Arc::new(plan.open(location, port)), Arc::new(pause)))
        };
        Watch {
            url: plan.warehouse.clone(),
            warehouse: open(&plan.warehouse),
            manifests: open(&plan.manifests),
            data: BTreeMap::new(),
            objects: BTreeMap::new(),
            lines: BTreeMap::new(),
            dice: Dice(plan.seed + 2),
            wrong: Vec::new(),
            rounds: 0,
        }
    }

    /// Looks at everything once. An error means that the store did not answer; then there is another round.
    pub fn round(&mut self) -> Result<()> {
        // Lines first: their data must be there by then.
        self.look_at_manifests()?;
        self.look_at_data()?;
        self.read_again()?;
        self.rounds += 1;
        Ok(())
    }

    fn look_at_manifests(&mut self) -> Result<()> {
        let listed = keys(self.manifests.as_ref(), "2")?;
        for key in &listed {
            if self.objects.contains_key(key) {
                continue;
            }
            let Some(bytes) = get(self.manifests.as_ref(), key)? else {
                self.wrong.push(format!("{key} is listed, and not there"));
                continue;
            };
            // Data objects first: after an error nothing of this object was seen.
            let lines: Vec<Value> =
                String::from_utf8_lossy(&bytes).lines().filter_map(|line| serde_json::from_str(line).ok()).collect();
            if lines.len() != bytes.iter().filter(|byte| **byte == b'\n').count() || !bytes.ends_with(b"\n") {
                self.wrong.push(format!("{key} has lines that are no JSON"));
            }
            let prefix = format!("{}/", self.url);
            let of = |line: &Value| line["warehouse_path"].as_str().unwrap_or_default().replace(&prefix, "");
            let data: Vec<String> = lines.iter().map(of).collect();
            let new: Vec<String> = data.iter().filter(|key| !self.data.contains_key(*key)).cloned().collect();
            let read = read(self.warehouse.as_ref(), &new)?;
            new.into_iter().zip(read).for_each(|(key, seen)| self.see_data(key, seen));
            lines.iter().zip(data).for_each(|(line, data)| self.see_line(key, line, data));
            self.objects.insert(key.clone(), sha256(&bytes));
        }
        let gone = self.objects.keys().filter(|key| listed.binary_search(key).is_err());
        let gone: Vec<String> = gone.cloned().collect();
        self.check_gone("manifests", &gone)
    }

    /// Of an object that is listed.
    fn see_data(&mut self, key: String, seen: Option<Seen>) {
        let Some(seen) = seen else { return self.wrong.push(format!("{key} is not there")) };
        if !key.contains(&format!("-{}", &seen.sha256.hex()[..32])) {
            self.wrong.push(format!("{key} has the bytes of {}", seen.sha256));
        }
        if let Some((other, _)) = self.data.iter().find(|(_, other)| other.sha256 == seen.sha256) {
            self.wrong.push(format!("{key} and {other} have one content"));
        }
        self.data.insert(key, seen);
    }

    fn see_line(&mut self, object: &str, line: &Value, data: String) {
        let content = Sha256::from_hex(line["sha256"].as_str().unwrap_or_default().as_bytes());
        let Some(content) = content else { return self.wrong.push(format!("{object}: {line}")) };
        let size = line["size"].as_u64().unwrap_or(u64::MAX);
        if self.data.get(&data) != Some(&Seen { sha256: content, size }) {
            self.wrong.push(format!("{object} lists {data}, which is not there, or another one: {line}"));
        }
        if let Some(before) = self.lines.insert(content, data) {
            self.wrong.push(format!("{object} lists {content}, and so does a line for {before}"));
        }
    }

    fn look_at_data(&mut self) -> Result<()> {
        let listed = keys(self.warehouse.as_ref(), "ingest_date=")?;
        let new: Vec<String> = listed.iter().filter(|key| !self.data.contains_key(*key)).cloned().collect();
        let read = read(self.warehouse.as_ref(), &new)?;
        new.into_iter().zip(read).for_each(|(key, seen)| self.see_data(key, seen));
        let gone = self.data.keys().filter(|key| listed.binary_search(key).is_err());
        let gone: Vec<String> = gone.cloned().collect();
        self.check_gone("warehouse", &gone)
    }

    /// A listing may be late; an object that was seen may not.
    fn check_gone(&mut self, place: &str, keys: &[String]) -> Result<()> {
        for key in keys {
            let store = if place == "manifests" { &self.manifests } else { &self.warehouse };
            match store.head(key) {
                Ok(_) => {}
                Err(error) if error.kind == Kind::NotFound => self.wrong.push(format!("{place}/{key} has disappeared")),
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    fn read_again(&mut self) -> Result<()> {
        let some = |dice: &mut Dice, count: usize| -> Vec<usize> {
            (0..count.min(AGAIN)).map(|_| dice.below(count as u64) as usize).collect()
        };
        let picked = some(&mut self.dice, self.data.len());
        let all: Vec<&String> = self.data.keys().collect();
        let picked: Vec<String> = picked.into_iter().map(|at| all[at].clone()).collect();
        self.compare_data(&picked)?;
        let picked = some(&mut self.dice, self.objects.len());
        let all: Vec<(&String, &Sha256)> = self.objects.iter().collect();
        for (key, before) in picked.into_iter().map(|at| all[at]) {
            let now = get(self.manifests.as_ref(), key)?;
            if now.is_none_or(|bytes| sha256(&bytes) != *before) {
                self.wrong.push(format!("manifests/{key} has changed"));
            }
        }
        Ok(())
    }

    /// Reads data objects again.
    pub fn compare_data(&mut self, keys: &[String]) -> Result<()> {
        let read = read(self.warehouse.as_ref(), keys)?;
        for (key, seen) in keys.iter().zip(read) {
            if seen.as_ref() != self.data.get(key) {
                self.wrong.push(format!("{key} has changed: it is {seen:?}"));
            }
        }
        Ok(())
    }
}
