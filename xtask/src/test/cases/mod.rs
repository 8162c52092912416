//! The kernel's tests.
//!
//! | file | subject |
//! |---|---|
//! | [`matrix`] | it boots on each kind of machine, and its own tests and audit pass there |
//! | [`direct_map`] | the direct map is what the command line and the CPU make it |
//! | [`faults`] | what goes wrong on purpose is found, reported, and told to the outside |
//! | [`frames`] | the frame allocator under stress, on several nodes and zones |
//! | [`count`] | marked regions run without a counter, too |
//! | [`console`] | the monitor's commands, and wrong input |
//! | [`image`] | the ISO boots under both kinds of firmware |

mod console;
mod count;
mod direct_map;
mod faults;
mod frames;
mod image;
mod matrix;

use super::case::Case;

/// All of them, the quick and telling ones first.
pub(crate) fn all() -> Vec<Case> {
    [
        console::cases(),
        faults::cases(),
        direct_map::cases(),
        frames::cases(),
        count::cases(),
        matrix::cases(),
        image::cases(),
    ]
    .into_iter()
    .flatten()
    .collect()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    #[test]
    fn every_case_has_a_name_of_its_own() {
        let cases = super::all();
        let names: BTreeSet<_> = cases.iter().map(|case| &case.name).collect();
        assert_eq!(names.len(), cases.len());
    }
}
