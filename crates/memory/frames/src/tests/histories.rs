//! Random histories against the plain model, with every structure validated after each step.

use std::cell::RefCell;
use std::vec::Vec;

use proptest::prelude::*;
use rhumb_machine::{Order, Pfn, Pinned};

use super::machine::*;
use super::model::Model;
use crate::{
    AllocError, Anywhere, Extent, Frame, Frames, Goal, Mobility, Preference, Relocate, Request, Zone,
};

/// Two nodes; holes, ragged ends, every zone.
const RANGES: [(u64, u64, usize); 7] = [
    (0x001, 0x09f, 0),
    (0x100, 0x0c00, 0),
    (0x1000, 0x1c05, 0),
    (1 << 20, (1 << 20) + 0x1200, 0),
    ((1 << 20) + 0x1200, (1 << 20) + 0x1a00, 1),
    ((1 << 21) + 7, (1 << 21) + 0x613, 1),
    ((1 << 22), (1 << 22) + 0x600, 1),
];
const DIRECT_LIMIT: u64 = 1 << 22;
const CPUS: usize = 3;

#[derive(Clone, Debug)]
enum Step {
    Alloc(Request),
    Free(usize),
    BeCpu(usize),
    Drain,
    Compact(usize, u64),
    Range(usize, u64, u64),
}

fn request() -> impl Strategy<Value = Request> {
    let order = prop_oneof![4 => Just(0u8), 4 => 1u8..9, 2 => Just(9u8), 1 => 10u8..12];
    let node = prop_oneof![
        4 => Just(Preference::Any),
        1 => (0usize..2).prop_map(|index| Preference::Prefer(node(index))),
        1 => (0usize..2).prop_map(|index| Preference::Bind(node(index))),
    ];
    (order, 0usize..3, prop_oneof![3 => Just(3usize), 1 => 0usize..4], node).prop_map(
        |(order, kind, zone, node)| {
            let request = Request::new(Order::new(order).unwrap()).kind(Mobility::ALL[kind]);
            request.ceiling(Zone::ALL[zone]).near(node)
        },
    )
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        12 => request().prop_map(Step::Alloc),
        8 => any::<usize>().prop_map(Step::Free),
        1 => (0..CPUS).prop_map(Step::BeCpu),
        1 => Just(Step::Drain),
        1 => (0usize..2, 1u64..400).prop_map(|(node, budget)| Step::Compact(node, budget)),
        2 => (0..RANGES.len(), any::<u64>(), 1u64..1500)
            .prop_map(|(which, start, frames)| Step::Range(which, start, frames)),
    ]
}

/// The owner of all frames.
struct Holder {
    model: RefCell<Model>,
    held: RefCell<Vec<Frame<Anywhere>>>,
}

// SAFETY: the model knows what is held; what moves is a handle that is held, and the old one is given up.
unsafe impl Relocate for Holder {
    fn extent(&self, pfn: Pfn) -> Option<Extent> {
        self.model.borrow().movable_extent(pfn)
    }

    fn relocate(&self, _: Pinned<'_>, from: Extent, to: Frame<Anywhere>) -> Result<(), Frame<Anywhere>> {
        assert_eq!(to.order(), from.order);
        self.model.borrow_mut().moved(from.start, to.pfn());
        let mut held = self.held.borrow_mut();
        let slot = held.iter_mut().find(|frame| frame.pfn() == from.start).unwrap();
        core::mem::replace(slot, to).into_pfn();
        Ok(())
    }
}

fn drain_all(frames: &Frames<TestMachine>) {
    let me = cpu().index();
    for cpu in 0..CPUS {
        be_cpu(cpu);
        frames.drain(pinned());
    }
    be_cpu(me);
}

fn alloc(frames: &Frames<TestMachine>, holder: &Holder, request: Request) -> Result<(), TestCaseError> {
    match frames.alloc_anywhere(pinned(), request) {
        Ok(frame) => {
            let allowed = holder.model.borrow_mut().alloc(frame.pfn(), &request);
            prop_assert!(allowed.is_ok(), "{frame:?} for {request:?}: {allowed:?}");
            holder.held.borrow_mut().push(frame);
        }
        Err(AllocError::Exhausted(order)) => {
            prop_assert_eq!(order, request.order);
            // Other CPUs may have kept it: with their caches empty, the answer is exact.
            drain_all(frames);
            match frames.alloc_anywhere(pinned(), request) {
                Ok(frame) => {
                    prop_assert!(holder.model.borrow_mut().alloc(frame.pfn(), &request).is_ok());
                    holder.held.borrow_mut().push(frame);
                }
                Err(_) => prop_assert!(!holder.model.borrow().can_serve(&request), "{request:?} has a block"),
            }
        }
        Err(error) => return Err(TestCaseError::fail(std::format!("{request:?}: {error}"))),
    }
    Ok(())
}

/// Takes `count` frames from somewhere in a range of memory, and gives them back.
fn take_range(
    frames: &Frames<TestMachine>,
    holder: &Holder,
    which: usize,
    start: u64,
    count: u64,
) -> Result<(), TestCaseError> {
    let (from, to, _) = RANGES[which];
    let start = from + start % (to - from);
    let wanted = range(start, to.min(start + count));
    if let Ok(taken) = frames.alloc_range(pinned(), wanted, holder) {
        prop_assert_eq!(taken.frames(), wanted);
        // The model takes them one by one, to see that each was free.
        for pfn in wanted.iter() {
            prop_assert!(holder.model.borrow_mut().alloc(pfn, &Request::FRAME).is_ok(), "{pfn}");
        }
        frames.validate().unwrap();
        wanted.iter().for_each(|pfn| holder.model.borrow_mut().free(pfn));
        prop_assert!(frames.free_range(pinned(), taken).is_ok());
    }
    Ok(())
}

fn run(steps: Vec<Step>) -> Result<(), TestCaseError> {
    let memory = memory(&RANGES);
    let frames = frames_with(CPUS, &memory, DIRECT_LIMIT);
    let model = Model::new(&memory, Pfn::new(DIRECT_LIMIT));
    let all = model.free_frames();
    let holder = Holder { model: RefCell::new(model), held: RefCell::new(Vec::new()) };
    for step in steps {
        match step {
            Step::Alloc(request) => alloc(&frames, &holder, request)?,
            Step::Free(which) => {
                let mut held = holder.held.borrow_mut();
                if !held.is_empty() {
                    let which = which % held.len();
                    let frame = held.swap_remove(which);
                    holder.model.borrow_mut().free(frame.pfn());
                    frames.free(pinned(), frame);
                }
            }
            Step::BeCpu(cpu) => be_cpu(cpu),
            Step::Drain => frames.drain(pinned()),
            Step::Compact(index, budget) => {
                let before = frames.free_large_blocks();
                let done = frames.compact(pinned(), node(index), Goal::Anything, &holder, budget);
                prop_assert!(frames.free_large_blocks() >= before + done.blocks);
            }
            Step::Range(which, start, count) => take_range(&frames, &holder, which, start, count)?,
        }
        let valid = frames.validate();
        prop_assert!(valid.is_ok(), "{valid:?}");
        prop_assert_eq!(frames.free_frames(), holder.model.borrow().free_frames());
        prop_assert_eq!(frames.refused_frees(), 0);
    }
    holder.held.into_inner().into_iter().for_each(|frame| frames.free(pinned(), frame));
    drain_all(&frames);
    prop_assert!(frames.validate().is_ok());
    prop_assert_eq!((frames.free_frames(), frames.totals().cached), (all, 0));
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn histories_agree_with_the_model(steps in proptest::collection::vec(step(), 1..120)) {
        run(steps)?;
    }
}
