//! Arithmetic on ranges against arithmetic on numbers: a result is always in the range of the results.

use proptest::prelude::*;

use crate::alu;
use crate::operation::{Alu, Condition, Endian, Width};
use crate::verify::range::Range;

const ALUS: [Alu; 13] = [
    Alu::Add,
    Alu::Sub,
    Alu::Mul,
    Alu::Div,
    Alu::Or,
    Alu::And,
    Alu::Lsh,
    Alu::Rsh,
    Alu::Neg,
    Alu::Mod,
    Alu::Xor,
    Alu::Mov,
    Alu::Arsh,
];
const CONDITIONS: [Condition; 11] = [
    Condition::Eq,
    Condition::Gt,
    Condition::Ge,
    Condition::Set,
    Condition::Ne,
    Condition::SGt,
    Condition::SGe,
    Condition::Lt,
    Condition::Le,
    Condition::SLt,
    Condition::SLe,
];

/// Numbers near the ends of 32 and 64 bits as often as others.
fn number() -> impl Strategy<Value = u64> {
    prop_oneof![
        any::<u64>(),
        0_u64..130,
        (0_u64..4).prop_map(|less| u64::MAX - less),
        (0_u64..8).prop_map(|more| (1 << 32) - 4 + more),
        (0_u64..8).prop_map(|more| (1 << 31) - 4 + more),
        (0_u64..8).prop_map(|more| (1 << 63) - 4 + more),
        (0_u32..64).prop_map(|bit| 1 << bit),
        any::<u32>().prop_map(u64::from),
    ]
}

/// A range as joins make it, and a number in it.
fn member() -> impl Strategy<Value = (Range, u64)> {
    (number(), proptest::collection::vec(number(), 0..3)).prop_map(|(number, others)| {
        let range = others.iter().fold(Range::only(number), |range, &other| range.join(Range::only(other)));
        (range, number)
    })
}

fn width() -> impl Strategy<Value = Width> {
    prop_oneof![Just(Width::Full), Just(Width::Half)]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(10_000))]

    #[test]
    fn results_are_in_the_range_of_results(
        alu in prop::sample::select(&ALUS[..]), width in width(), left in member(), right in member()
    ) {
        let result = alu::compute(alu, width, left.1, right.1);
        let range = Range::compute(alu, width, left.0, right.0);
        prop_assert!(range.contains(result), "{alu:?} {width:?} {left:?} {right:?}: {result} not in {range:?}");
    }

    #[test]
    fn what_a_comparison_leaves_has_the_number(
        condition in prop::sample::select(&CONDITIONS[..]), width in width(), left in member(), right in number()
    ) {
        let holds = alu::compare(condition, width, left.1, right);
        let narrowed = left.0.narrow(condition, width, right, holds);
        prop_assert!(
            narrowed.is_some_and(|range| range.contains(left.1)),
            "{condition:?} {width:?} {left:?} {right}: {narrowed:?}"
        );
    }

    #[test]
    fn swapped_numbers_are_in_the_range(
        big in any::<bool>(), bits in prop::sample::select(&[16_u8, 32, 64][..]), left in member()
    ) {
        let order = if big { Endian::Big } else { Endian::Little };
        prop_assert!(left.0.swap(order, bits).contains(alu::swap(order, bits, left.1)));
    }
}

#[test]
fn bounds_say_something() {
    let any = Range::ANY;
    let masked = Range::compute(Alu::And, Width::Full, any, Range::only(7));
    assert_eq!((masked.least, masked.most), (0, 7));
    let index = Range::compute(Alu::Lsh, Width::Full, masked, Range::only(3));
    assert!(index.most == 56 && index.is_aligned(8));
    let below = any.narrow(Condition::Lt, Width::Full, 100, true).expect("some are");
    assert_eq!(below.most, 99);
    assert_eq!(below.narrow(Condition::Ge, Width::Full, 100, true), None);
}
