//! Lines as consumers get them: with their cursor as the last member.
//!
//! Invariants:
//! - A line's text stays as it is, byte by byte, up to its closing brace. It is never parsed and written again.
//! - The cursor of a line is the one with which the next line comes after it.

use super::cursor::{Cursor, Stream};
use super::source::Line;

/// Appends lines with their cursors.
pub struct Spliced {
    cursor: Cursor,
    /// The stream whose number stands between the next two; None before the first line.
    stream: Option<Stream>,
    /// The text from the member's comma to that number.
    front: Vec<u8>,
    /// The text behind it.
    back: Vec<u8>,
}

/// Stands for a number while the cursor's text is taken apart: no line has it.
const MARK: u64 = u64::MAX;

impl Spliced {
    /// Lines come after this cursor.
    pub fn after(cursor: Cursor) -> Spliced {
        Spliced { cursor, stream: None, front: Vec::new(), back: Vec::new() }
    }

    /// Appends a line with its cursor and a newline.
    pub fn append(&mut self, line: &Line<'_>, out: &mut Vec<u8>) {
        if self.stream != Some(line.stream) {
            self.take_apart(line.stream);
        }
        self.cursor.pass(line.stream, line.number);
        let text = line.text.trim_ascii_end();
        out.extend_from_slice(text.strip_suffix(b"}").unwrap_or(text));
        out.extend_from_slice(&self.front);
        append_number(line.number, out);
        out.extend_from_slice(&self.back);
    }

    /// The cursor after the last line.
    pub fn cursor(&self) -> &Cursor {
        &self.cursor
    }

    /// Only one number of a cursor changes while lines of one stream come.
    fn take_apart(&mut self, stream: Stream) {
        let mut marked = self.cursor.clone();
        marked.pass(stream, MARK);
        let text = marked.to_string();
        let (front, back) = text.split_once(&format!("{stream}:{MARK}")).unwrap_or((&text, ""));
        self.front = format!(",\"cursor\":\"{front}{stream}:").into_bytes();
        self.back = format!("{back}\"}}\n").into_bytes();
        self.stream = Some(stream);
    }
}

/// Appends a number in decimal digits.
fn append_number(mut number: u64, out: &mut Vec<u8>) {
    let mut digits = [0; 20];
    let mut first = digits.len();
    loop {
        first -= 1;
        digits[first] = b'0' + (number % 10) as u8;
        number /= 10;
        if number == 0 {
            break;
        }
    }
    out.extend_from_slice(&digits[first..]);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_line_has_the_cursor_after_it_and_is_not_changed_otherwise() {
        let streams = [2_u8, 1, 3].map(|byte| Stream::of_journal([byte; 16]));
        let mut cursor = Cursor::default();
        cursor.pass(streams[2], 9);
        let mut spliced = Spliced::after(cursor.clone());
        // The spelling of numbers and the order of keys are the ingestor's own.
        let texts = ["{\"seq\":1,\"a\":1.50}", "{}", "{\"b\":\"}\",\"a\":{}} "];
        for (stream, number) in [(0, 1), (0, 2), (1, 1), (0, 3), (2, 10), (2, 1234567890123456789), (0, 4)] {
            let text = texts[number as usize % texts.len()];
            let mut out = Vec::new();
            spliced.append(&Line { stream: streams[stream], number, text: text.as_bytes() }, &mut out);
            cursor.pass(streams[stream], number);
            let expected = format!("{},\"cursor\":\"{cursor}\"}}\n", &text.trim_end()[..text.trim_end().len() - 1]);
            assert_eq!(String::from_utf8(out).unwrap(), expected);
            assert_eq!(*spliced.cursor(), cursor);
        }
    }
}
