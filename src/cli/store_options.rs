//! `--store-option`: further settings of an object store.
//!
//! Invariant: they may be secrets, so they are never printed.

use std::fmt;

use clap::Args;

use crate::store::location::Options;

#[derive(Debug, Args)]
pub(super) struct StoreOptionArgs {
    /// A setting of the object store, such as aws_region=eu-central-1; takes precedence over the environment; repeatable
    #[arg(long, value_name = "KEY=VALUE", value_parser = parse)]
    store_option: Vec<Setting>,
}

#[derive(Clone)]
struct Setting(String, String);

impl fmt::Debug for Setting {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

fn parse(text: &str) -> Result<Setting, String> {
    match text.split_once('=') {
        Some((key, value)) if !key.is_empty() => Ok(Setting(key.to_owned(), value.to_owned())),
        _ => Err("expected KEY=VALUE".to_owned()),
    }
}

impl StoreOptionArgs {
    pub(super) fn options(&self) -> Options {
        Options(self.store_option.iter().map(|Setting(key, value)| (key.clone(), value.clone())).collect())
    }
}
