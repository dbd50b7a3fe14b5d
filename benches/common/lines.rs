//! A file to which another process appends lines.

use std::fs::File;
use std::io::Read as _;
use std::path::Path;

const READ_BYTES: usize = 1 << 16;

/// An open file.
pub struct Lines {
    file: File,
    buffer: Vec<u8>,
    /// The beginning of a line whose end has not been written yet.
    rest: Vec<u8>,
}

impl Lines {
    /// Reads from the first line on; None if the file does not exist.
    pub fn open(path: &Path) -> Option<Lines> {
        let file = File::open(path).ok()?;
        Some(Lines { file, buffer: vec![0; READ_BYTES], rest: Vec::new() })
    }

    /// Calls `act` for each line that has come since the last call.
    pub fn for_each(&mut self, mut act: impl FnMut(&str)) {
        loop {
            let read = self.file.read(&mut self.buffer).unwrap();
            if read == 0 {
                return;
            }
            self.rest.extend_from_slice(&self.buffer[..read]);
            let mut begin = 0;
            while let Some(length) = self.rest[begin..].iter().position(|byte| *byte == b'\n') {
                act(std::str::from_utf8(&self.rest[begin..begin + length]).unwrap());
                begin += length + 1;
            }
            self.rest.drain(..begin);
        }
    }
}
