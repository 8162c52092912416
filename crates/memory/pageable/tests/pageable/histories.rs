//! Random histories against a plain model: each area is a vector of bytes.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::Ordering::Relaxed;

use proptest::prelude::*;
use rhumb_frames::Zone;
use rhumb_machine::Pinned;
use rhumb_pageable::planted::{self, Fault};

use crate::world::{MIB, Random, TestArea, Which, World, in_world};

const PAGE: u64 = 4096;
/// All areas together have more pages than the world has frames.
const AREAS: usize = 6;
const MOST_PAGES: u64 = 300;

struct Model {
    area: TestArea,
    bytes: Vec<u8>,
}

/// Plays `steps` random steps on CPU 0 of two, and checks contents after each.
fn play(world: &'static World, pinned: Pinned<'_>, seed: u64, steps: usize) {
    let mut random = Random(seed | 1);
    let mut models: Vec<Model> = Vec::new();
    let may_fault = world.all.may_fault().unwrap();
    for _ in 0..steps {
        let nth = random.below(models.len() as u64) as usize;
        let page = |random: &mut Random, model: &Model| random.below(model.area.pages());
        let has_room = models.len() < AREAS;
        match (random.below(16), models.get_mut(nth)) {
            (0, _) | (_, None) if has_room => {
                let pages = 1 + random.below(MOST_PAGES);
                let bytes = vec![0; (pages * PAGE) as usize];
                models.push(Model { area: world.area(pages), bytes });
            }
            (1, Some(_)) => world.free(models.swap_remove(nth).area),
            (2, _) => _ = world.all.evict(pinned, 1 + random.below(40), Zone::High),
            (3, _) => world.ground.plant.is_full.store(random.below(3) == 0, Relaxed),
            (4, Some(model)) => {
                // A page that is pinned has the same contents, whatever goes out.
                let page = page(&mut random, model);
                let Ok(pin) = model.area.pin(may_fault, page..page + 1) else { continue };
                world.all.evict(pinned, 20, Zone::High);
                let at = (page * PAGE) as usize;
                assert!(pin.page(page).unwrap() == &model.bytes[at..at + PAGE as usize], "a pinned page");
                let pages = world.all.pages_of(model.area.range());
                assert_eq!(pages.pinned, 1, "the pinned page is in memory");
            }
            (5 | 6, Some(model)) => {
                // CPU 1 touches a page, and has its translation from then on.
                let at = random.below(model.bytes.len() as u64);
                let address = model.area.start().plus(at);
                if world.all.resolve(may_fault, address).is_ok() {
                    assert_eq!(world.touch(1, address), model.bytes[at as usize], "CPU 1 at {address}");
                }
            }
            (7..=11, Some(model)) => {
                let at = page(&mut random, model) * PAGE;
                let contents = random.page();
                if model.area.write(may_fault, at, &contents).is_ok() {
                    model.bytes[at as usize..(at + PAGE) as usize].copy_from_slice(&contents);
                }
            }
            (_, Some(model)) => {
                let at = random.below(model.bytes.len() as u64);
                let length = random.below(3 * PAGE).min(model.bytes.len() as u64 - at) as usize;
                let mut bytes = vec![0xee; length];
                if model.area.read(may_fault, at, &mut bytes).is_ok() {
                    assert!(bytes == model.bytes[at as usize..at as usize + length], "contents at {at}");
                }
            }
            _ => {}
        }
        let report = world.all.report();
        let pages = models.iter().map(|model| world.all.pages_of(model.area.range()));
        let sums = pages.fold((0, 0), |sum, pages| (sum.0 + pages.resident, sum.1 + pages.out));
        assert_eq!((report.resident, report.out), sums);
        assert_eq!(world.all.store().pages(), report.out);
    }
    world.ground.plant.is_full.store(false, Relaxed);
    for model in models {
        assert!(world.read(&model.area, 0, model.bytes.len()) == model.bytes, "contents at the end");
        world.free(model.area);
    }
    world.assert_empty(pinned);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, ..ProptestConfig::default() })]

    #[test]
    fn histories_agree_with_the_model(seed in any::<u64>(), is_plain in any::<bool>()) {
        let which = if is_plain { Which::Plain } else { Which::Compressed };
        in_world((2, 4 * MIB), which, |world, pinned| play(world, pinned, seed, 400));
    }
}

/// Tells whether histories find a fault.
pub(crate) fn finds(fault: Fault) -> bool {
    (1..6u64).any(|seed| {
        in_world((2, 4 * MIB), Which::Compressed, |world, pinned| {
            let played = || planted::with(fault, || play(world, pinned, seed << 32 | 0x5eed, 400));
            catch_unwind(AssertUnwindSafe(played)).is_err()
        })
    })
}
