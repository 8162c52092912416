//! Fair measurements of small effects on noisy machines.
//!
//! A [`Trial`] measures several [`Arm`]s of one workload. The first arm is the baseline. In each *round*, every arm gives
//! one sample, in an order that is drawn anew, so that a slow minute of the machine hits all arms alike. An [`Effect`]
//! is the ratio of an arm to the baseline, from the pairs of samples of the same round, with its interval, and with the
//! smallest effect that this trial could have seen.
//!
//! | module | owns |
//! |---|---|
//! | [`trial`] | rounds, order, warm-up, when to stop |
//! | [`effect`] | the ratio of two arms, its interval, its p-value, what could have been seen |
//! | [`adjust`](mod@adjust) | many comparisons at once: p-values, intervals |
//! | [`summary`] | medians, quartiles, the interval of a median |
//! | `signed_rank` | Wilcoxon's test and the interval that belongs to it |
//!
//! The crate knows no clock but the bound on time, and no operating system.
#![forbid(unsafe_code)]

pub mod adjust;
pub mod effect;
mod signed_rank;
pub mod summary;
pub mod trial;

pub use adjust::{Compared, adjust, holm, tested_levels};
pub use effect::{Effect, Finding};
pub use summary::{Interval, Summary, median, median_interval, pseudo_median, quantile, undisturbed_mean};
pub use trial::{Arm, Failed, Plan, Stopped, Trial, Watch};

#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
