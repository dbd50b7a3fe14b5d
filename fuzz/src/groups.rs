//! A second reader of group files, written only from docs/groups.md: lines split by hand, names unescaped byte by byte.

const MEMBERS_MAX: usize = 256;
const NAMES_BYTES_MAX: usize = 16 << 10;

/// The names and sums of a group file, in its order; None if it is refused.
pub fn read(content: &[u8]) -> Option<Vec<(Vec<u8>, String)>> {
    if content.last() != Some(&b'\n') {
        return None;
    }
    let mut members: Vec<(Vec<u8>, String)> = Vec::new();
    let mut line = Vec::new();
    for byte in content {
        if *byte != b'\n' {
            line.push(*byte);
            continue;
        }
        if line.last() == Some(&b'\r') {
            line.pop();
        }
        if !line.is_empty() && line[0] != b'#' {
            let member = member(&line)?;
            if members.iter().any(|(name, _)| *name == member.0) {
                return None;
            }
            members.push(member);
        }
        line.clear();
    }
    let bytes: usize = members.iter().map(|(name, _)| name.len()).sum();
    ((1..=MEMBERS_MAX).contains(&members.len()) && bytes <= NAMES_BYTES_MAX).then_some(members)
}

fn member(line: &[u8]) -> Option<(Vec<u8>, String)> {
    let is_escaped = line[0] == b'\\';
    let line = &line[usize::from(is_escaped)..];
    if line.len() < 67
        || !line[..64].iter().all(u8::is_ascii_hexdigit)
        || line[64] != b' '
        || !b" *".contains(&line[65])
    {
        return None;
    }
    let sum = line[..64].iter().map(|byte| char::from(*byte).to_ascii_lowercase()).collect();
    let mut name = Vec::new();
    let mut at = 66;
    while at < line.len() {
        let mut byte = line[at];
        if is_escaped && byte == b'\\' {
            at += 1;
            byte = match line.get(at)? {
                b'n' => b'\n',
                b'r' => b'\r',
                b'\\' => b'\\',
                _ => return None,
            };
        }
        name.push(byte);
        at += 1;
    }
    let name = match name.starts_with(b"./") {
        true => name[2..].to_vec(),
        false => name,
    };
    let is_plain = !name.is_empty() && name != b"." && name != b".." && !name.contains(&b'/') && !name.contains(&0);
    (is_plain && !is_group_file(&name)).then_some((name, sum))
}

fn is_group_file(name: &[u8]) -> bool {
    name.ends_with(b".group") || name.rsplit(|byte| *byte == b'/').next() == Some(b"manifest-sha256.txt")
}

/// The same, of the manifest of a bag.
pub fn read_bag(content: &[u8]) -> Option<Vec<(Vec<u8>, String)>> {
    let mut members: Vec<(Vec<u8>, String)> = Vec::new();
    let lines = content.strip_suffix(b"\n")?;
    for line in lines.split(|byte| *byte == b'\n') {
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        if line.is_empty() || line[0] == b'#' {
            continue;
        }
        let member = payload(line)?;
        if members.iter().any(|(name, _)| *name == member.0) {
            return None;
        }
        members.push(member);
    }
    let bytes: usize = members.iter().map(|(name, _)| name.len()).sum();
    ((1..=MEMBERS_MAX).contains(&members.len()) && bytes <= NAMES_BYTES_MAX).then_some(members)
}

fn payload(line: &[u8]) -> Option<(Vec<u8>, String)> {
    if line.len() < 66 || !line[..64].iter().all(u8::is_ascii_hexdigit) || !line[64].is_ascii_whitespace() {
        return None;
    }
    let sum = line[..64].iter().map(|byte| char::from(*byte).to_ascii_lowercase()).collect();
    let mut at = 64;
    while line.get(at).is_some_and(u8::is_ascii_whitespace) {
        at += 1;
    }
    at += usize::from(line.get(at) == Some(&b'*'));
    let mut name = Vec::new();
    while at < line.len() {
        let escaped = match &line[at..(at + 3).min(line.len())] {
            b"%25" => Some(b'%'),
            b"%0A" | b"%0a" => Some(b'\n'),
            b"%0D" | b"%0d" => Some(b'\r'),
            _ => None,
        };
        name.push(escaped.unwrap_or(line[at]));
        at += if escaped.is_some() { 3 } else { 1 };
    }
    let name = name.strip_prefix(b"./").unwrap_or(&name).to_vec();
    let mut parts = name.split(|byte| *byte == b'/');
    let is_plain = parts.next() == Some(b"data") && name.contains(&b'/');
    let is_plain = is_plain && parts.all(|part| !part.is_empty() && part != b"." && part != b"..");
    (is_plain && !name.contains(&0) && !is_group_file(&name)).then_some((name, sum))
}

/// A line as `sha256sum` writes it.
pub fn written(name: &[u8], sum: &str) -> Vec<u8> {
    let mut escaped = Vec::new();
    for byte in name {
        match byte {
            b'\\' => escaped.extend(b"\\\\"),
            b'\n' => escaped.extend(b"\\n"),
            b'\r' => escaped.extend(b"\\r"),
            byte => escaped.push(*byte),
        }
    }
    let mark: &[u8] = if escaped == name { b"" } else { b"\\" };
    [mark, sum.as_bytes(), b"  ", &escaped, b"\n"].concat()
}
