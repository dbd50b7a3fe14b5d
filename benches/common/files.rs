//! Files as upstreams might send them: each is a function of its number.

use std::fs::File;
use std::io::Write as _;
use std::path::{Path, PathBuf};

const HEADING: &str = "id,value,label\n";
/// The part that is repeated after a file's own first line.
const BODY_BYTES: usize = 1 << 20;
/// A file's size on a disk is a multiple of this; about as much again goes to its inode, its names and its lines.
const BLOCK_BYTES: u64 = 4096;

/// A number of files of the same size.
#[derive(Clone, Copy)]
pub struct Set {
    pub count: u64,
    pub bytes: u64,
}

impl Set {
    /// The bytes of all files.
    pub fn total_bytes(self) -> u64 {
        self.count * self.bytes
    }

    /// Their size on a disk, with everything that belongs to them.
    pub fn disk_bytes(self) -> u64 {
        self.count * (self.bytes.next_multiple_of(BLOCK_BYTES) + BLOCK_BYTES)
    }

    /// Writes them into a directory.
    pub fn make(self, dir: &Path) {
        self.make_from(0, dir);
    }

    /// The same with numbers that begin with this one, and so with other contents.
    pub fn make_from(self, first: u64, dir: &Path) {
        self.make_numbers(first, &|number| dir.join(name(number)));
    }

    /// Writes each to the path for its number.
    pub fn make_at(self, path: &dyn Fn(u64) -> PathBuf) {
        self.make_numbers(0, path);
    }

    fn make_numbers(self, first: u64, path: &dyn Fn(u64) -> PathBuf) {
        let body = body();
        for number in first..first + self.count {
            write_with(&path(number), number, self.bytes, &body);
        }
    }
}

/// The name of the file with this number.
pub fn name(number: u64) -> String {
    format!("part-{number:07}.csv")
}

/// Writes the file with this number, of this size.
pub fn write(path: &Path, number: u64, bytes: u64) {
    write_with(path, number, bytes, &body());
}

fn write_with(path: &Path, number: u64, bytes: u64, body: &[u8]) {
    let head = format!("{HEADING}{number},{:.6},item\n", number as f64 / 7.0);
    assert!(head.len() as u64 <= bytes, "no two are the same");
    let mut file = File::create(path).unwrap();
    let mut left = bytes - head.len() as u64;
    // In one write, if it is small.
    let first = body.len().min(left as usize);
    file.write_all(&[head.as_bytes(), &body[..first]].concat()).unwrap();
    left -= first as u64;
    while left > 0 {
        let piece = body.len().min(left as usize);
        file.write_all(&body[..piece]).unwrap();
        left -= piece as u64;
    }
}

/// Rows that follow the first one.
fn body() -> Vec<u8> {
    let mut body = Vec::with_capacity(BODY_BYTES);
    let mut row: u64 = 0;
    while body.len() < BODY_BYTES {
        writeln!(body, "{row},{:.6},item-{}", row as f64 / 13.0, row % 97).unwrap();
        row += 1;
    }
    body.truncate(BODY_BYTES);
    body
}
