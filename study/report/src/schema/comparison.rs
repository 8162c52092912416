//! Comparisons of two arms, and the controls among them.

use std::collections::BTreeMap;

use rhumb_method::{Effect, Stopped};
use serde::{Deserialize, Serialize};

use super::number;

/// One arm against its baseline in one workload.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct Comparison {
    /// A name that is the same on every machine and in every version, so that studies can be compared:
    /// `page-cache/64b/4k`.
    pub id: String,
    /// The heading under which the comparison is shown: "Direct map in pages of 4 KiB".
    pub family: String,
    /// The workload, in a few words: "random reads of 64 B from cached pages".
    pub workload: String,
    /// The baseline's name: "1-GiB pages".
    pub baseline: String,
    /// The arm's name: "4-KiB pages".
    pub arm: String,
    /// Other conditions by name, such as a competing working set.
    pub conditions: BTreeMap<String, String>,
    /// The unit of the samples: "ns". Smaller is better.
    pub unit: String,
    /// The baseline's samples, by round.
    #[serde(deserialize_with = "number::list")]
    pub baseline_samples: Vec<f64>,
    /// The arm's samples, by round.
    #[serde(deserialize_with = "number::list")]
    pub arm_samples: Vec<f64>,
    /// The effect, where there were rounds enough for one.
    pub effect: Option<Effect>,
    /// Why the rounds ended.
    pub stopped: Stopped,
}

/// The purpose of a control.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ControlKind {
    /// An effect that is known to be there must be seen.
    Positive,
    /// The same against the same must show no effect.
    Negative,
}

/// A comparison whose result is known beforehand.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct Control {
    /// Which result it must have.
    pub kind: ControlKind,
    /// The comparison.
    pub comparison: Comparison,
    /// Whether it had that result.
    pub passed: bool,
    /// One sentence: the result, and what follows from it.
    pub verdict: String,
}
