//! Where a store is: the URL that an operator writes, and the options that go with it.
//!
//! Invariants:
//! - A location is the same text again when it is written: it is recorded, and compared.
//! - It holds no secret. Credentials come from the environment and from [`Options`], which are never written.

use std::fmt;
use std::path::{Component, Path, PathBuf};

/// The kind of a store.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scheme {
    /// A directory: `file:///path`.
    File,
    /// S3 and what speaks its protocol: `s3://bucket/prefix`.
    S3,
    /// Google Cloud Storage: `gs://bucket/prefix`.
    Gs,
    /// Azure Blob Storage: `az://container/prefix`.
    Az,
}

impl Scheme {
    const ALL: [Scheme; 4] = [Scheme::File, Scheme::S3, Scheme::Gs, Scheme::Az];

    /// As in a URL.
    pub fn text(self) -> &'static str {
        match self {
            Scheme::File => "file",
            Scheme::S3 => "s3",
            Scheme::Gs => "gs",
            Scheme::Az => "az",
        }
    }
}

/// A place in a store.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Location {
    /// The kind of store.
    pub scheme: Scheme,
    /// The bucket or container; empty for a directory.
    pub bucket: String,
    /// What all keys begin with, without slashes at its ends; for a directory, its absolute path.
    pub prefix: String,
}

/// Why a text is no location.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Fault {
    /// It begins with no known scheme.
    #[error("expected a URL that begins with s3://, gs://, az:// or file:///")]
    Scheme,
    /// There is no bucket.
    #[error("expected a bucket's name of letters, digits, '.', '_' and '-' behind '://'")]
    Bucket,
    /// The prefix has parts that no key may have.
    #[error("expected a prefix of letters, digits, '.', '_', '=', '-' and '/', without empty parts, '.' and '..'")]
    Prefix,
    /// A directory needs an absolute path.
    #[error("expected an absolute path without '.' and '..' behind file://")]
    Path,
}

impl Location {
    /// True for a text that is meant as a URL and not as a path.
    pub fn is_meant(text: &str) -> bool {
        text.split_once("://").is_some_and(|(scheme, _)| scheme.bytes().all(|byte| byte.is_ascii_alphanumeric()))
    }

    /// Reads a URL.
    ///
    /// # Errors
    /// See [`Fault`].
    pub fn parse(text: &str) -> Result<Location, Fault> {
        let (scheme, rest) = text.split_once("://").ok_or(Fault::Scheme)?;
        let scheme = Scheme::ALL.into_iter().find(|known| known.text() == scheme).ok_or(Fault::Scheme)?;
        if scheme == Scheme::File {
            return Location::of_dir(Path::new(rest)).ok_or(Fault::Path);
        }
        let (bucket, prefix) = rest.split_once('/').unwrap_or((rest, ""));
        if bucket.is_empty() || bucket.starts_with('.') || !bucket.bytes().all(|byte| is_plain(byte) && byte != b'=') {
            return Err(Fault::Bucket);
        }
        let prefix = prefix.strip_suffix('/').unwrap_or(prefix);
        let is_part = |part: &str| !matches!(part, "" | "." | "..") && part.bytes().all(is_plain);
        if !prefix.is_empty() && !prefix.split('/').all(is_part) {
            return Err(Fault::Prefix);
        }
        Ok(Location { scheme, bucket: bucket.to_owned(), prefix: prefix.to_owned() })
    }

    fn of_dir(path: &Path) -> Option<Location> {
        let is_plain = |part: Component<'_>| matches!(part, Component::RootDir | Component::Normal(_));
        let prefix = path.components().collect::<PathBuf>().into_os_string().into_string().ok()?;
        (path.is_absolute() && path.components().all(is_plain)).then_some(Location {
            scheme: Scheme::File,
            bucket: String::new(),
            prefix,
        })
    }

    /// True if one of the two places contains the other, or they are the same.
    pub fn overlaps(&self, other: &Location) -> bool {
        let contains = |outer: &str, inner: &str| {
            let rest = inner.strip_prefix(outer);
            rest.is_some_and(|rest| outer.is_empty() || outer == "/" || rest.is_empty() || rest.starts_with('/'))
        };
        (self.scheme, &self.bucket) == (other.scheme, &other.bucket)
            && (contains(&self.prefix, &other.prefix) || contains(&other.prefix, &self.prefix))
    }

    /// The URL of an object below this place.
    pub fn of(&self, key: &str) -> String {
        format!("{self}/{key}")
    }
}

fn is_plain(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'=' | b'-')
}

impl fmt::Display for Location {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Location { scheme, bucket, prefix } = self;
        write!(f, "{}://{bucket}", scheme.text())?;
        match scheme {
            Scheme::File => f.write_str(prefix),
            _ if prefix.is_empty() => Ok(()),
            _ => write!(f, "/{prefix}"),
        }
    }
}

/// Further settings of a store, from `--store-option KEY=VALUE`: they count more than the environment. They may hold
/// secrets, so they cannot be printed.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Options(pub Vec<(String, String)>);

impl fmt::Debug for Options {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.0.iter().map(|(key, _)| key)).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_go_there_and_back() {
        for (text, written) in [
            ("s3://bucket", "s3://bucket"),
            ("s3://bucket/", "s3://bucket"),
            ("s3://bucket/a/b=c/", "s3://bucket/a/b=c"),
            ("gs://my-bucket.example/x", "gs://my-bucket.example/x"),
            ("az://container/x", "az://container/x"),
            ("file:///srv/lake/", "file:///srv/lake"),
            ("file:///srv//lake", "file:///srv/lake"),
        ] {
            let location = Location::parse(text).unwrap();
            assert_eq!(location.to_string(), written);
            assert_eq!(Location::parse(written), Ok(location));
        }
        assert_eq!(Location::parse("s3://b/p").unwrap().of("d/k.csv"), "s3://b/p/d/k.csv");
        assert_eq!(Location::parse("file:///srv/lake").unwrap().of("k"), "file:///srv/lake/k");
    }

    #[test]
    fn what_no_key_could_have_is_refused() {
        for (text, fault) in [
            ("/srv/lake", Fault::Scheme),
            ("http://host/x", Fault::Scheme),
            ("s3:bucket", Fault::Scheme),
            ("s3://", Fault::Bucket),
            ("s3:///x", Fault::Bucket),
            ("s3://user:secret@bucket/x", Fault::Bucket),
            ("s3://b/a//b", Fault::Prefix),
            ("s3://b/../c", Fault::Prefix),
            ("s3://b/ä", Fault::Prefix),
            ("file://relative", Fault::Path),
            ("file:///a/../b", Fault::Path),
        ] {
            assert_eq!(Location::parse(text), Err(fault), "{text}");
        }
    }

    #[test]
    fn places_that_contain_each_other_are_seen() {
        let overlap = |one: &str, other: &str| {
            let (one, other) = (Location::parse(one).unwrap(), Location::parse(other).unwrap());
            assert_eq!(one.overlaps(&other), other.overlaps(&one));
            one.overlaps(&other)
        };
        for (one, other) in [("s3://b", "s3://b/x"), ("file:///", "file:///l"), ("file:///l", "file:///l/m")] {
            assert!(overlap(one, other), "{one} {other}");
        }
        for (one, other) in [("s3://b/x", "s3://b/xy"), ("s3://b/x", "gs://b/x"), ("s3://b/x", "s3://c/x")] {
            assert!(!overlap(one, other), "{one} {other}");
        }
    }

    #[test]
    fn a_url_is_told_from_a_path() {
        assert!(Location::is_meant("s3://x") && Location::is_meant("http://x"));
        assert!(!Location::is_meant("/srv/a://b") && !Location::is_meant("srv"));
    }

    #[test]
    fn options_are_not_printed() {
        let options = Options(vec![("aws_secret_access_key".to_owned(), "hush".to_owned())]);
        assert_eq!(format!("{options:?}"), "[\"aws_secret_access_key\"]");
    }
}
