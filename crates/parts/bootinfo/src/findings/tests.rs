//! A list that keeps the first findings, and counts all.

extern crate std;

use std::vec::Vec;

use super::{Finding, Findings, KEPT};

/// A kind and a detail.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Odd(u8, u32);

impl Finding for Odd {
    fn is_like(&self, other: &Self) -> bool {
        self.0 == other.0
    }
}

fn of(given: impl IntoIterator<Item = Odd>) -> Findings<Odd> {
    let mut findings = Findings::default();
    given.into_iter().for_each(|odd| findings.push(odd));
    findings
}

#[test]
fn many_of_one_kind_do_not_hide_the_first_of_another() {
    let findings = of((0..100).map(|detail| Odd(0, detail)).chain([Odd(1, 0), Odd(2, 0), Odd(1, 1)]));
    assert_eq!((findings.total(), findings.omitted()), (103, 103 - KEPT));
    let kept: Vec<_> = findings.iter().copied().collect();
    let expected = (0..KEPT as u32 - 2).map(|detail| Odd(0, detail)).chain([Odd(1, 0), Odd(2, 0)]);
    assert_eq!(kept, expected.collect::<Vec<_>>());
}

#[test]
fn the_same_finding_twice_is_one() {
    let findings = of([Odd(0, 1), Odd(0, 1), Odd(0, 2), Odd(0, 1)]);
    assert_eq!((findings.total(), findings.iter().len()), (2, 2));
}

#[test]
fn of_more_kinds_than_there_is_room_for_the_first_stay() {
    let findings = of((0..20).map(|kind| Odd(kind, 0)));
    assert_eq!((findings.total(), findings.omitted()), (20, 20 - KEPT));
    assert_eq!(findings.iter().map(|odd| odd.0).collect::<Vec<_>>(), (0..KEPT as u8).collect::<Vec<_>>());
}
