//! A second reader of CSV, written from RFC 4180 and README alone: the whole text in memory, a byte at a time, nothing shared
//! with the crate. Where the two disagree, one of them, or the text, is wrong.

/// What is in a file.
#[derive(Debug, PartialEq, Eq)]
pub struct Seen {
    /// Records behind the first; None if something is wrong.
    pub rows: Option<u64>,
    /// Of the first record.
    pub columns: Option<u64>,
    /// The first record's fields.
    pub header: Option<Vec<Vec<u8>>>,
    /// The line of the first thing that is wrong.
    pub fault: Option<u64>,
}

#[derive(Clone, Copy, PartialEq)]
enum At {
    /// Before the first byte of a field.
    FieldStart,
    Bare,
    Quoted,
    /// Behind a quote within quotes: the field's end, or half of a doubled one.
    QuoteInQuoted,
}

/// Reads a file whose fields are separated by commas.
pub fn read(content: &[u8]) -> Seen {
    let text = content.strip_prefix("\u{feff}".as_bytes()).unwrap_or(content);
    let good = match std::str::from_utf8(text) {
        Ok(_) => text.len(),
        // All that is complete before what is wrong, or cut off, counts.
        Err(error) => error.valid_up_to(),
    };
    let mut reader = Reader { seen: Seen { rows: Some(0), columns: None, header: None, fault: None }, line: 1 };
    let (mut fields, mut field, mut at, mut begun) = (Vec::new(), Vec::new(), At::FieldStart, None);
    for byte in &text[..good] {
        let ends_line = matches!(byte, b'\n' | b'\r') && at != At::Quoted;
        if begun.is_none() && !ends_line {
            begun = Some(reader.line);
        }
        if ends_line {
            if let Some(begun) = begun.take() {
                fields.push(std::mem::take(&mut field));
                at = At::FieldStart;
                if !reader.record(std::mem::take(&mut fields), begun) {
                    return reader.seen;
                }
            }
        } else {
            match (at, byte) {
                (At::FieldStart, b'"') => at = At::Quoted,
                (At::Quoted, b'"') => at = At::QuoteInQuoted,
                (At::QuoteInQuoted, b'"') => {
                    field.push(b'"');
                    at = At::Quoted;
                }
                (At::FieldStart | At::Bare | At::QuoteInQuoted, b',') => {
                    fields.push(std::mem::take(&mut field));
                    at = At::FieldStart;
                }
                (At::Quoted, byte) => field.push(*byte),
                (_, byte) => {
                    field.push(*byte);
                    at = At::Bare;
                }
            }
        }
        reader.line += u64::from(*byte == b'\n');
    }
    if good < text.len() {
        reader.fail(reader.line);
    } else if let Some(begun) = begun {
        if at == At::Quoted {
            reader.fail(begun);
        } else {
            fields.push(field);
            reader.record(fields, begun);
        }
    }
    reader.seen
}

struct Reader {
    seen: Seen,
    line: u64,
}

impl Reader {
    /// False if that is one too many or too few.
    fn record(&mut self, fields: Vec<Vec<u8>>, line: u64) -> bool {
        let count = fields.len() as u64;
        match self.seen.columns {
            None => (self.seen.columns, self.seen.header) = (Some(count), Some(fields)),
            Some(columns) if columns == count => self.seen.rows = self.seen.rows.map(|rows| rows + 1),
            Some(_) => self.fail(line),
        }
        self.seen.fault.is_none()
    }

    fn fail(&mut self, line: u64) {
        (self.seen.rows, self.seen.fault) = (None, Some(line));
    }
}
