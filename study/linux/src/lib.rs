//! The direct map of the running Linux kernel: the holders that break it, and the cost of a broken map.
//!
//! | module | owns |
//! |---|---|
//! | [`who`] | the holders of secret memory now, what they block, and all else that breaks the map |
//! | [`proc`] | texts of `/proc` and `/sys`, parsed |
//! | [`secret`] | `memfd_secret(2)` |
//! | [`error`] | reasons for which a study ends without a result |
//! | `study` | `study linux`: from the question whether the map may be broken to the results |
//! | `consent`, `amount`, `room` | that question, how much is broken, how much memory may be taken |
//! | `breaking`, `frames`, `ramfs` | splits by secret pages; the places of pages; files that lie beside secret pages |
//! | `workloads`, `programs`, `children` | system calls and real programs that are measured |
//! | `phases`, `drift`, `results` | before and after in blocks; effects whose intervals hold the machine's drift |
//! | `controls` | comparisons that may show no effect, judged together |
//! | `placed` | cached pages in broken and in whole blocks, by turns |
//! | `transition` | the cost of a page that becomes secret |
#![deny(unsafe_code)]

pub mod error;
pub mod proc;
pub mod secret;
pub mod who;

mod amount;
mod breaking;
mod children;
mod consent;
mod controls;
mod drift;
mod frames;
mod phases;
mod placed;
mod programs;
mod ramfs;
mod results;
mod room;
mod study;
mod transition;
mod workloads;

pub use amount::Amount;
pub use error::Error;
pub use study::{Options, run};
