//! The packed records say what was put into them, field by field, and take no more room than they need.

use rhumb_machine::Order;

use crate::Mobility;
use crate::pool::block::{Info, Isolated, State};
use crate::pool::tree::whole_words;

const ISOLATED: [Isolated; 2] = [Isolated::Yes, Isolated::No];

#[test]
fn each_state_says_what_it_was_made_of() {
    for kind in Mobility::ALL {
        let full = Info::full(kind);
        assert_eq!((full.state(), full.kind(), full.free(), full.rank()), (State::Partial, kind, 0, 0));
        for order in Order::all() {
            let large = Info::large(order, kind);
            assert_eq!((large.state(), large.kind(), large.order()), (State::Large, kind, order));
            assert_eq!((large.free(), large.grain(), large.is_isolated()), (0, 0, false));
        }
        for grain in 0..3 {
            let partial = Info::WHOLE.with_kind(kind).with_grain(grain).partial();
            assert_eq!((partial.state(), partial.kind(), partial.grain()), (State::Partial, kind, grain));
            assert_eq!(partial.free(), 0);
        }
    }
    assert_eq!((Info::WHOLE.state(), Info::WHOLE.free()), (State::Whole, 512));
    assert_eq!(Info::ABSENT.state(), State::Absent);
}

#[test]
fn each_field_of_a_block_is_set_alone_over_whatever_was_there() {
    let starts = Mobility::ALL.into_iter().flat_map(|kind| {
        let values = (0..3).flat_map(|grain| [0, 1, 300, 512].map(|free| (grain, free)));
        values.flat_map(move |(grain, free)| {
            ISOLATED.map(|isolated| {
                let rank = free / 64;
                let info = Info::full(kind).with_grain(grain).with_free(free, rank).with_isolated(isolated);
                (info, (kind, grain, free, rank, isolated == Isolated::Yes))
            })
        })
    });
    let fields = |info: Info| {
        assert_eq!((info.state(), info.order()), (State::Partial, Order::BASE));
        (info.kind(), info.grain(), info.free(), info.rank(), info.is_isolated())
    };
    for (start, (kind, grain, free, rank, isolated)) in starts {
        assert_eq!(fields(start), (kind, grain, free, rank, isolated));
        for new in Mobility::ALL {
            assert_eq!(fields(start.with_kind(new)), (new, grain, free, rank, isolated));
        }
        for new in 0..3 {
            assert_eq!(fields(start.with_grain(new)), (kind, new, free, rank, isolated));
        }
        for (new, new_rank) in [(0, 0), (1, 1), (511, 9), (512, 15)] {
            assert_eq!(fields(start.with_free(new, new_rank)), (kind, grain, new, new_rank, isolated));
        }
        for new in ISOLATED {
            let is = new == Isolated::Yes;
            assert_eq!(fields(start.with_isolated(new)), (kind, grain, free, rank, is));
        }
    }
}

/// One bit for each block, for each word of 64 blocks six more, for groups of 2, 4 and 8 words one more each; and their
/// summaries.
#[test]
fn the_trees_of_whole_blocks_take_the_words_that_they_need() {
    assert_eq!(whole_words(1), 1 + 9);
    assert_eq!(whole_words(64), 1 + 9);
    assert_eq!(whole_words(65), (2 + 1) + 9);
    // 256 words; their 256 bits for each of six orders; 128, 64 and 32 groups.
    assert_eq!(whole_words(1 << 14), (256 + 4 + 1) + 6 * (4 + 1) + (2 + 1) + 1 + 1);
    // A terabyte: less than 1.13 bits for each block.
    assert!(whole_words(1 << 19) * 64 * 100 < (1 << 19) * 113);
}
