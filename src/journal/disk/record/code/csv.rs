//! The encoding of how files are parsed as CSV, and of the result.

use super::fields::{Fields, put_option, put_text, put_u64};
use crate::journal::disk::record::{CsvFault, HeaderFault, Profile, Validation};

/// In the second byte of a [`Validation`]: malformed files are refused.
const LOOK_REFUSES: u8 = 1;
/// The quote follows.
const LOOK_QUOTE: u8 = 2;
/// The byte with which comments begin follows.
const LOOK_COMMENT: u8 = 4;
/// The number of lines that are skipped follows.
const LOOK_SKIP_ROWS: u8 = 8;
/// The quote if none follows.
const QUOTE: u8 = b'"';

pub(super) fn put_validation(out: &mut Vec<u8>, it: Validation) {
    let flag = |is_set: bool, bit: u8| if is_set { bit } else { 0 };
    let quote = flag(it.quote != Some(QUOTE), LOOK_QUOTE);
    let aside = flag(it.comment.is_some(), LOOK_COMMENT) | flag(it.skip_rows > 0, LOOK_SKIP_ROWS);
    out.extend_from_slice(&[it.delimiter, flag(it.refuse, LOOK_REFUSES) | quote | aside]);
    out.extend((quote != 0).then_some(it.quote.unwrap_or(0)));
    out.extend(it.comment);
    if it.skip_rows > 0 {
        out.extend_from_slice(&it.skip_rows.to_le_bytes());
    }
}

pub(super) fn put_profile(out: &mut Vec<u8>, profile: &Profile) {
    put_option(out, profile.rows, put_u64);
    put_option(out, profile.columns, put_u64);
    put_option(out, profile.header.as_ref().filter(|header| Profile::fits(header)), |out, header| {
        out.extend_from_slice(&(header.len() as u16).to_le_bytes());
        header.iter().for_each(|name| put_text(out, name));
    });
    put_option(out, profile.fault.as_ref(), |out, fault| {
        put_u64(out, fault.line);
        put_text(out, &fault.reason);
    });
}

/// False if there are none: then it appends nothing.
pub(super) fn put_header_faults(out: &mut Vec<u8>, profile: &Profile) -> bool {
    let faults = &profile.header_faults;
    if faults.is_empty() || !Profile::are_faults(faults) {
        return false;
    }
    out.push(faults.len() as u8);
    for fault in faults {
        out.extend_from_slice(&fault.column.to_le_bytes());
        out.extend_from_slice(&fault.first.unwrap_or(0).to_le_bytes());
    }
    true
}

impl Fields<'_> {
    /// The faults of its header follow it if `has_header_faults`.
    pub(super) fn profile(&mut self, has_header_faults: bool) -> Option<Profile> {
        Some(Profile {
            rows: self.option(Fields::u64)?,
            columns: self.option(Fields::u64)?,
            header: self.option(Fields::header)?,
            fault: self.option(|fields| Some(CsvFault { line: fields.u64()?, reason: fields.text()? }))?,
            header_faults: if has_header_faults { self.header_faults()? } else { Vec::new() },
        })
    }

    fn header_faults(&mut self) -> Option<Vec<HeaderFault>> {
        let count = self.byte()?;
        let faults = (0..count).map(|_| {
            let column = u16::from_le_bytes(self.array()?);
            let first = u16::from_le_bytes(self.array()?);
            Some(HeaderFault { column, first: (first > 0).then_some(first) })
        });
        faults.collect::<Option<Vec<_>>>().filter(|faults| !faults.is_empty() && Profile::are_faults(faults))
    }

    fn header(&mut self) -> Option<Vec<String>> {
        let count = u16::from_le_bytes(self.array()?);
        let header = (0..count).map(|_| self.text()).collect::<Option<Vec<String>>>()?;
        Profile::fits(&header).then_some(header)
    }

    pub(super) fn validation(&mut self) -> Option<Validation> {
        let [delimiter, bits] = self.array()?;
        if bits & !(LOOK_REFUSES | LOOK_QUOTE | LOOK_COMMENT | LOOK_SKIP_ROWS) != 0 {
            return None;
        }
        let quote = match bits & LOOK_QUOTE {
            0 => Some(QUOTE),
            _ => match self.byte()? {
                // The default quote has only the shorter form.
                QUOTE => return None,
                0 => None,
                quote => Some(quote),
            },
        };
        let comment = if bits & LOOK_COMMENT == 0 { None } else { Some(self.byte()?) };
        let skip_rows = match bits & LOOK_SKIP_ROWS {
            0 => 0,
            _ => Some(u16::from_le_bytes(self.array()?)).filter(|rows| *rows > 0)?,
        };
        Some(Validation { delimiter, quote, refuse: bits & LOOK_REFUSES != 0, comment, skip_rows })
    }
}
