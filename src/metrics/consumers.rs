//! Consumers of the manifests' lines: how far each is behind.
//!
//! Invariant: the label is a consumer's name, which an operator has given: it is short, of a strict alphabet, and their
//! number is limited. All other labels are those of an enum.

use std::fmt;
use std::sync::{Mutex, PoisonError};

use prometheus_client::encoding::{EncodeMetric, MetricEncoder};
use prometheus_client::metrics::gauge::ConstGauge;
use prometheus_client::metrics::{MetricType, TypedMetric};

use crate::limits::FOLLOW_CONSUMERS_MAX;
use crate::types::UnixMillis;

/// What was known of a consumer when it was looked at last.
#[derive(Clone, Debug)]
pub struct ConsumerLag {
    /// Its name.
    pub name: String,
    /// Lines that it has not acknowledged; None if that is not known.
    pub lines: Option<u64>,
    /// When the oldest of these was listed; None if there is none, or that is not known.
    pub oldest: Option<UnixMillis>,
    /// When it acknowledged last; None if its position cannot be read.
    pub acknowledged_at: Option<UnixMillis>,
}

/// All consumers.
#[derive(Debug, Default)]
pub(super) struct Consumers(Mutex<Vec<ConsumerLag>>);

impl Consumers {
    pub(super) fn get(&self) -> Vec<ConsumerLag> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    pub(super) fn set(&self, mut lags: Vec<ConsumerLag>) {
        lags.truncate(FOLLOW_CONSUMERS_MAX);
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = lags;
    }
}

/// A gauge for each consumer of which the value is known.
pub(super) struct ByConsumer<'a> {
    lags: &'a [ConsumerLag],
    value: fn(&ConsumerLag) -> Option<f64>,
}

impl<'a> ByConsumer<'a> {
    pub(super) fn new(lags: &'a [ConsumerLag], value: fn(&ConsumerLag) -> Option<f64>) -> ByConsumer<'a> {
        ByConsumer { lags, value }
    }
}

impl TypedMetric for ByConsumer<'_> {
    const TYPE: MetricType = MetricType::Gauge;
}

impl EncodeMetric for ByConsumer<'_> {
    fn encode(&self, mut encoder: MetricEncoder<'_>) -> fmt::Result {
        for lag in self.lags {
            if let Some(value) = (self.value)(lag) {
                ConstGauge::new(value).encode(encoder.encode_family(&[("consumer", lag.name.as_str())])?)?;
            }
        }
        Ok(())
    }

    fn metric_type(&self) -> MetricType {
        Self::TYPE
    }
}
