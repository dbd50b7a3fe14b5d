//! Many hosts, one warehouse in an object store, each content exactly once.
//!
//! Hosts share nothing but the store. The only thing that they need of it is [`crate::store::Store::create`], which one of
//! several wins, and reads that see it. No clock, no timeout and no name of a host is needed for safety.
//!
//! ```text
//! pack ──▶ entry ──▶ data objects ──▶ manifest objects ──▶ pack deleted
//! bytes    commit    publish           lines               clean up
//! ```
//!
//! The rules, and where each is kept:
//!
//! - *Bytes before claim* ([`host`]): an entry is created after its pack is there.
//! - *Contiguous* ([`log`]): an entry is created right behind the last one that was read.
//! - *Unclaimed only*, *once* ([`claims`], [`host`]): an entry names no content that an earlier one names, and none twice.
//! - *Compare bytes* ([`log`]): after any answer but success the slot is read, and the entry is ours if the bytes are.
//! - *Chain*, *floor* ([`log`], [`host`]): an entry holds its predecessor's SHA-256, and a number below which all entries
//!   are finished; nothing below it is finished again.
//! - *The key is the entry's* ([`publish`]): nobody but the entry chooses a key, so two who publish it do the same.
//! - *Data before line* ([`publish`]): manifest objects are created when all data objects of the entry are there.
//! - *Pack until line* ([`publish`]): a pack is deleted when the manifest objects are there.
//! - *Roll forward* ([`roll_forward`]): every host finishes any entry, its own at once, others' after a while.
//! - *Slots are kept*: nothing here deletes an entry.
//!
//! The modules, from the bottom up: [`mod@format`], [`keys`], [`description`], [`entry`], [`mod@read`], [`pack`], [`parts`], [`flight`],
//! [`rows`], [`claims`], [`log`], [`checkpoint`], [`due`], [`publish`], [`roll_forward`], [`shard`], [`start`], [`progress`], [`host`],
//! [`pace`], [`probe`], [`system_clock`], [`listing`], [`care`].
//! `docs/lake-format.md` describes the bytes.

pub(crate) mod bytes;
pub mod care;
pub mod checkpoint;
pub mod claims;
pub mod clock;
pub mod description;
pub mod due;
pub mod entry;
pub mod error;
pub mod flight;
pub mod format;
pub mod host;
mod id;
pub mod keys;
pub mod listing;
pub mod log;
pub mod pace;
pub mod pack;
pub mod parts;
pub mod probe;
pub mod progress;
pub mod publish;
pub mod read;
pub mod roll_forward;
pub mod rows;
pub mod shard;
pub mod start;
pub mod system_clock;

pub use error::Error;
