//! Any history of allocations and frees on three CPUs against a plain model: no two ranges overlap, a request that
//! fails has no place or one that the classes' width hides, nothing is lost, and every structure stays consistent.

use std::vec;
use std::vec::Vec;

use proptest::prelude::*;

use super::model::Model;
use super::world::*;
use crate::arena::failing::{self, Failing};
use crate::{ArenaError, Fit, HeldRange, Units};

#[derive(Clone, Copy, Debug)]
enum Step {
    Alloc { units: u64, times: usize },
    Aligned { units: u64, shift: u32, offset: u64 },
    Free { which: usize, times: usize },
    BeCpu(usize),
    Drain,
    Reclaim,
    Trim,
    Tick,
    Handler { units: u64 },
    FailTags { after: u64 },
    PassTags,
}

fn units() -> impl Strategy<Value = u64> {
    prop_oneof![8 => 1u64..=16, 3 => 17u64..600, 1 => 600u64..20_000]
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        8 => (units(), 1usize..40).prop_map(|(units, times)| Step::Alloc { units, times }),
        3 => (units(), 0u32..12, any::<u64>()).prop_map(|(units, shift, offset)| Step::Aligned { units, shift, offset }),
        8 => (any::<usize>(), 1usize..60).prop_map(|(which, times)| Step::Free { which, times }),
        3 => (0usize..3).prop_map(Step::BeCpu),
        1 => Just(Step::Drain),
        1 => Just(Step::Reclaim),
        1 => Just(Step::Trim),
        1 => Just(Step::Tick),
        1 => (1u64..20).prop_map(|units| Step::Handler { units }),
        1 => (0u64..40).prop_map(|after| Step::FailTags { after }),
        2 => Just(Step::PassTags),
    ]
}

struct Play {
    world: World,
    span: Units,
    model: Model,
    held: Vec<HeldRange>,
}

impl Play {
    fn alloc(&mut self, units: u64, align: u64, offset: u64) {
        let fit = Fit::new(units).unwrap().aligned(align, offset).unwrap();
        match self.world.arena.alloc(pinned(), fit) {
            Ok(range) => {
                assert_eq!((range.range().count(), range.range().start() % align), (units, offset));
                self.model.alloc(self.span, range.range());
                self.held.push(range);
            }
            Err(ArenaError::NoTag(_)) => {}
            // Ranges that other CPUs keep are none's, so that only the units say that there was a place.
            Err(ArenaError::Exhausted) => {
                let kept: u64 = self.world.arena.report().kept_units;
                let room = units + align + units / 16;
                let has_place = kept == 0 && self.model.has_place(self.span, room, 1, 0);
                assert!(!has_place, "{units} units by {align} are refused, and there is room for {room}");
            }
            Err(error) => panic!("{error}"),
        }
    }

    fn free(&mut self, which: usize) {
        if !self.held.is_empty() {
            let range = self.held.swap_remove(which % self.held.len());
            self.model.free(range.range());
            self.world.free(range);
        }
    }

    fn play(&mut self, step: Step) {
        match step {
            Step::Alloc { units, times } => (0..times).for_each(|_| self.alloc(units, 1, 0)),
            Step::Aligned { units, shift, offset } => {
                self.alloc(units, 1 << shift, offset & ((1 << shift) - 1));
            }
            Step::Free { which, times } => {
                (1..=times).for_each(|turn| self.free(which.wrapping_mul(turn)));
            }
            Step::BeCpu(cpu) => be_cpu(cpu),
            Step::Drain => self.world.arena.drain(pinned()),
            Step::Reclaim => self.world.arena.reclaim(pinned()),
            Step::Trim => self.world.arena.trim(pinned()),
            Step::Tick => self.world.arena.tick(pinned()),
            Step::Handler { units } => {
                let cache = self.world.arena.cache(pinned().cpu()).unwrap();
                cache.gate.alone(|| {
                    self.alloc(units, 1, 0);
                    self.free(0);
                });
            }
            Step::FailTags { after } => failing::after(after, Failing::All),
            Step::PassTags => failing::end(),
        }
    }

    fn check(&self) {
        self.world.arena.validate(pinned()).unwrap();
        let report = self.world.arena.report();
        assert_eq!(report.held_units(), self.model.units(), "{report:?}");
        let mut held = self.model.ranges();
        let walk = self.world.arena.for_each(|range| {
            if range.place == crate::arena::RangePlace::Held {
                assert_eq!(Some(range.range), held.next());
            }
            core::ops::ControlFlow::Continue(())
        });
        walk.unwrap();
        assert_eq!(held.next(), None);
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_history_is_the_models(
        steps in prop::collection::vec(step(), 1..80),
        total in prop_oneof![Just(300u64), Just(5_000), Just(1 << 20)],
    ) {
        let world = World::new(total, 3);
        let span = Units::of_length(START, total).unwrap();
        let mut play = Play { world, span, model: Model::default(), held: Vec::new() };
        for &step in &steps {
            play.play(step);
            play.check();
        }
        failing::end();
        while !play.held.is_empty() {
            play.free(0);
        }
        for cpu in 0..3 {
            be_cpu(cpu);
            play.world.arena.drain(pinned());
        }
        play.world.assert_whole(1);
        be_cpu(0);
    }
}
