//! The errors of a hosted study. Memory or pages that are merely missing are omissions, and no errors.

use rhumb_hosted::EnterError;
use rhumb_method::Failed;
use rhumb_study_report::format;

/// Why a hosted study could not go on.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A memory is too small for the data that a workload puts there.
    #[error("a direct map is too small for the workloads; choose a larger --memory")]
    NoMemory,
    /// The system has too little memory for one direct map.
    #[error(
        "{} of memory are available, and {} are needed; free some, or choose a smaller --memory",
        mebibytes(*available_mib),
        mebibytes(*needed_mib)
    )]
    TooLittle {
        /// The memory that the system has.
        available_mib: u64,
        /// The memory that the least study needs.
        needed_mib: u64,
    },
    /// `--minutes` is too little or too much.
    #[error(
        "a study takes at least {fewest} minutes and at most a day; its noise and controls alone take up to half of the least; choose other --minutes, or --quick"
    )]
    Time {
        /// The fewest minutes.
        fewest: f64,
    },
    /// `--only` names no workload.
    #[error("no workload is named like '{0}'; --list shows them")]
    NoSuchWorkload(String),
    /// The system gives no direct map in two sizes of page, so there is nothing to compare.
    #[error("the system gave a direct map in fewer than two sizes of page: {0}")]
    NothingToCompare(String),
    /// Rhumb's own crates refused a configuration.
    #[error("the memory core: {0}")]
    Core(String),
    /// The hosted machine's CPU is not to be had.
    #[error(transparent)]
    Enter(#[from] EnterError),
    /// The system does not tell how much memory it has.
    #[error("the system does not tell how much memory is available; mount /proc")]
    Unknown,
    /// The competing user space could not have its memory.
    #[error("no memory for the competing user space: {why}; {remedy}")]
    Rival {
        /// The missing thing.
        why: String,
        /// How to get it.
        remedy: String,
    },
    /// A trial failed.
    #[error(transparent)]
    Trial(#[from] Failed),
}

/// Returns a size in words, however large.
fn mebibytes(count: u64) -> String {
    format::bytes(count as f64 * f64::from(1 << 20))
}
