//! Windows: in turn, nested, open over a wrap, interrupted, and against a plain copy of all bytes.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::Ordering::Relaxed;

use proptest::prelude::*;
use rhumb_frames::Frame;
use rhumb_hosted::Cpu;
use rhumb_hosted::interrupt::Strike;
use rhumb_machine::{CpuId, MAX_CPUS, Pinned};
use rhumb_windows::error::CopyError;
use rhumb_windows::planted::{self, Fault};
use rhumb_windows::{KEPT_SLOT, OutOfFrame, RING, SLOTS, WindowError, slot_address};

use crate::world::*;

fn take(world: &'static World, pinned: Pinned<'_>, frames: usize) -> Vec<Frame> {
    (0..frames).map(|_| world.take(pinned, 0)).collect()
}

/// Windows of CPUs on both sides of the border of a page directory, which holds 512 CPUs' tables.
#[test]
fn each_of_the_most_cpus_has_windows_of_its_own() {
    in_world(MAX_CPUS, |world, cpu| {
        let frames = take(world, cpu.pinned(), 3);
        let frames = std::thread::scope(|scope| {
            let stamp = |(mut frame, index): (Frame, usize)| {
                let work = move |_: &Cpu<'_>| {
                    let stamped =
                        world.windows.with_page(&mut frame, 0, |window| window.copy_to(7, &[index as u8]));
                    stamped.unwrap().unwrap();
                    frame
                };
                scope.spawn(move || world.machine.enter(CpuId::new(index).unwrap(), work).unwrap())
            };
            let others = [511, 512, MAX_CPUS - 1];
            let stamped: Vec<_> = frames.into_iter().zip(others).map(stamp).collect();
            stamped.into_iter().map(|thread| thread.join().unwrap()).collect::<Vec<_>>()
        });
        let stamps = frames.iter().map(|frame| world.peek(frame.pfn(), 7)).collect::<Vec<_>>();
        assert_eq!(stamps, [511, 512, MAX_CPUS - 1].map(|index| index as u8));
        assert_eq!(world.windows.counters().opened, 3);
        world.give(cpu.pinned(), frames);
    });
}

#[test]
fn no_other_cpu_hears_of_a_window_and_one_local_flush_does_for_a_wrap() {
    in_world(3, |world, cpu| {
        let mut frames = take(world, cpu.pinned(), 4);
        let (before, windows_before) = (world.machine.counters(), world.windows.counters());
        let kept = slot_address(cpu.id(), KEPT_SLOT);
        for round in 0..10 * RING {
            let frame = &mut frames[round % 4];
            let used = world.windows.with_page(frame, 0, |window| {
                assert_ne!(window.address(), kept);
                window.copy_to(round as u64 % 4000, &[round as u8])
            });
            used.unwrap().unwrap();
        }
        let done = world.machine.counters() - before;
        assert_eq!((done.remote_flushes, done.flush_interrupts), (0, 0));
        let windows = world.windows.counters();
        assert_eq!(done.local_flushes, windows.wraps - windows_before.wraps);
        assert!((9..=10).contains(&done.local_flushes), "{done:?}");
        assert_eq!(windows.opened - windows_before.opened, 10 * RING as u64);
        world.windows.validate().unwrap();
        world.give(cpu.pinned(), frames);
    });
}

#[test]
fn a_window_that_is_open_over_wraps_stays_what_it_is() {
    in_world(1, |world, cpu| {
        let mut frames = take(world, cpu.pinned(), 3);
        let [kept, other, third] = &mut frames[..] else { panic!() };
        let windows = &world.windows;
        for turn in 0..3u8 {
            let opened = windows.with_page(kept, 0, |window| {
                for round in 0..2 * SLOTS {
                    windows.copy_to(other, 0, &[round as u8]).unwrap();
                    window.copy_to(u64::from(turn), &[turn + 1]).unwrap();
                }
            });
            opened.unwrap();
            // Its slot is spent since the last flush: not to be had before the next.
            (0..SLOTS).for_each(|_| windows.copy_to(third, 0, &[9]).unwrap());
        }
        let first = |frame: &Frame| world.peek(frame.pfn(), 0);
        assert_eq!((first(kept), world.peek(kept.pfn(), 2), first(third)), (1, 3, 9));
        windows.validate().unwrap();
        world.give(cpu.pinned(), frames);
    });
}

#[test]
fn a_closure_that_panics_closes_its_window() {
    in_world(1, |world, cpu| {
        let mut frames = take(world, cpu.pinned(), 1);
        let frame = &mut frames[0];
        let panicked = catch_unwind(AssertUnwindSafe(|| {
            let _ = world.windows.with_page(frame, 0, |_| -> () { std::panic::resume_unwind(Box::new(())) });
        }));
        assert!(panicked.is_err());
        assert_eq!(world.windows.counters().open, 0);
        world.windows.validate().unwrap();
        world.give(cpu.pinned(), frames);
    });
}

/// Copies, nested and not, while a handler that copies, too, strikes wherever interrupts are on. Returns how many
/// bytes were not what they must be, and how often the handler found a slot open that shows nothing, or the reverse.
fn interrupted_everywhere(world: &'static World, cpu: &Cpu<'_>) -> (u32, u32) {
    let mut frames = take(world, cpu.pinned(), 4);
    let [own, from, handlers, nested] = &mut frames[..] else { panic!() };
    let (mut strikes, mut wrong, mut untidy) = (0u32, 0, 0);
    let mut handler = |_: rhumb_machine::IrqOff<'_>| {
        untidy += u32::from(world.windows.validate().is_err());
        strikes += 1;
        let bytes = strikes.to_le_bytes();
        let done = world.windows.copy_to(handlers, 4, &bytes).and_then(|()| {
            world.windows.with_page(handlers, 0, |one| -> Result<(), CopyError> {
                let mut read = [0; 4];
                one.copy_from(4, &mut read)?;
                world.windows.copy_to(nested, 8, &read)?;
                Ok(one.copy_to(0, &[7])?)
            })?
        });
        untidy += u32::from(done.is_err());
    };
    let (_, struck) = cpu.with_interrupts(Strike::Every { points: 1 }, &mut handler, || {
        for round in 0..2000u32 {
            let bytes = round.to_le_bytes();
            let (mut mine, mut copied) = ([0; 4], [0; 4]);
            let opened = world.windows.with_page(own, 0, |window| {
                window.copy_to(16, &bytes).unwrap();
                world.windows.copy_to(from, 0, &bytes).unwrap();
                window.copy_from(16, &mut mine).unwrap();
            });
            opened.unwrap();
            world.windows.copy_from(from, 0, &mut copied).unwrap();
            wrong += u32::from(mine != bytes) + u32::from(copied != bytes);
        }
    });
    assert!(struck > 4000, "{struck}");
    let read: Vec<u8> = (0..4).map(|byte| world.peek(nested.pfn(), 8 + byte)).collect();
    wrong += u32::from(read != strikes.to_le_bytes());
    frames.into_iter().for_each(|frame| world.frames.free(cpu.pinned(), frame));
    (wrong, untidy)
}

#[test]
fn a_handler_that_uses_windows_strikes_anywhere() {
    in_world(1, |world, cpu| {
        assert_eq!(interrupted_everywhere(world, cpu), (0, 0));
        assert_eq!(world.windows.counters().open, 0);
        world.give(cpu.pinned(), Vec::new());
    });
}

#[test]
fn a_window_with_interrupts_on_is_found() {
    let found = in_world(1, |world, cpu| {
        planted::with(Fault::InterruptibleWindow, || interrupted_everywhere(world, cpu))
    });
    assert!(found != (0, 0), "the planted fault was not seen");
}

/// Counts how often the entry of a slot is cleared that is closed already.
fn cleared_late(world: &'static World, cpu: &Cpu<'_>) -> u64 {
    let mut frames = take(world, cpu.pinned(), 1);
    let before = world.watch.cleared_late.load(Relaxed);
    (0..10).for_each(|_| world.windows.copy_to(&mut frames[0], 0, &[1]).unwrap());
    world.give(cpu.pinned(), frames);
    world.watch.cleared_late.load(Relaxed) - before
}

#[test]
fn a_slot_that_is_released_before_its_entry_is_clear_is_found() {
    in_world(1, |world, cpu| {
        assert_eq!(cleared_late(world, cpu), 0);
        let late = planted::with(Fault::ReleasedBeforeCleared, || cleared_late(world, cpu));
        assert!(late > 0, "the planted fault was not seen");
    });
}

#[test]
fn an_entry_that_stays_is_found() {
    in_world(1, |world, cpu| {
        let mut frames = take(world, cpu.pinned(), 1);
        planted::with(Fault::EntryNotCleared, || world.windows.copy_to(&mut frames[0], 0, &[1]).unwrap());
        assert!(world.windows.validate().is_err(), "the planted fault was not seen");
        let _ = frames.pop().map(Frame::into_pfn);
    });
}

#[test]
fn a_window_whose_wrap_does_not_flush_shows_another_frame() {
    let shows_its_own = |fault: Option<Fault>| {
        in_world(1, |world, cpu| {
            let mut frames: Vec<_> = (0..600).map(|_| world.take(cpu.pinned(), 0)).collect();
            let mut fill = || {
                for (number, frame) in (0u32..).zip(&mut frames) {
                    world.windows.copy_to(frame, 8, &number.to_le_bytes()).unwrap();
                }
            };
            match fault {
                Some(fault) => planted::with(fault, fill),
                None => fill(),
            }
            let is_own = |(number, frame): (u32, &Frame)| {
                (0..4).all(|byte| world.peek(frame.pfn(), 8 + byte) == number.to_le_bytes()[byte as usize])
            };
            let own = (0u32..).zip(&frames).all(is_own);
            frames.into_iter().for_each(|frame| {
                let _ = frame.into_pfn();
            });
            own
        })
    };
    assert!(shows_its_own(None));
    assert!(!shows_its_own(Some(Fault::WrapWithoutFlush)), "the planted fault was not seen");
}

#[test]
fn what_is_not_within_the_frame_is_refused() {
    in_world(1, |world, cpu| {
        let mut frame = world.take(cpu.pinned(), 1);
        let out =
            |offset, bytes, size_bytes| Err(CopyError::OutOfFrame(OutOfFrame { offset, bytes, size_bytes }));
        let windows = &world.windows;
        assert_eq!(windows.copy_to(&mut frame, 8191, &[0; 2]), out(8191, 2, 8192));
        assert_eq!(windows.copy_from(&frame, u64::MAX, &mut [0; 2]), out(u64::MAX, 2, 8192));
        assert_eq!(windows.copy_to(&mut frame, 8192, &[]), Ok(()));
        assert_eq!(
            windows.with_page(&mut frame, 2, |_| ()),
            Err(WindowError::NoSuchPage { page: 2, pages: 2 })
        );
        let zeroed = windows.with_page(&mut frame, 1, |window| window.zero(1, 4096)).unwrap();
        assert_eq!(zeroed, Err(OutOfFrame { offset: 1, bytes: 4096, size_bytes: 4096 }));
        world.give(cpu.pinned(), vec![frame]);
    });
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(16))]

    #[test]
    fn copies_do_what_they_do_to_a_plain_array(
        steps in prop::collection::vec((0usize..3, 0u64..4 * 4096, 0usize..6000, any::<u8>(), 0u8..3), 1..60),
    ) {
        in_world(1, |world, cpu| {
            let mut frames: Vec<_> =
                (0..3).map(|_| world.take(cpu.pinned(), 2)).collect();
            let mut model = vec![vec![0u8; 4 * 4096]; 3];
            for (which, offset, bytes, byte, what) in steps {
                let fits = offset as usize + bytes <= 4 * 4096;
                let place = offset as usize..(offset as usize + bytes).min(4 * 4096);
                match what {
                    0 => {
                        let done = world.windows.copy_to(&mut frames[which], offset, &vec![byte; bytes]);
                        assert_eq!(done.is_ok(), fits);
                        if fits {
                            model[which][place].fill(byte);
                        }
                    }
                    1 => {
                        let mut read = vec![0; bytes];
                        let done = world.windows.copy_from(&frames[which], offset, &mut read);
                        assert_eq!(done.is_ok(), fits);
                        assert!(!fits || read == model[which][place]);
                    }
                    _ => {
                        world.windows.zero(&mut frames[which]).unwrap();
                        model[which].fill(0);
                    }
                }
            }
            world.windows.validate().unwrap();
            world.give(cpu.pinned(), frames);
        });
    }
}

#[test]
fn frames_are_copied_page_by_page_through_two_windows() {
    in_world(2, |world, cpu| {
        let (mut from, mut to, mut small) =
            (world.take(cpu.pinned(), 2), world.take(cpu.pinned(), 2), world.take(cpu.pinned(), 1));
        let bytes: Vec<u8> = (0..4 * 4096u32).map(|at| (at % 253) as u8).collect();
        world.windows.copy_to(&mut from, 0, &bytes).unwrap();
        let before = (world.machine.counters(), world.windows.counters());
        for round in 0..RING {
            world.windows.copy_to(&mut from, 9, &[round as u8]).unwrap();
            world.windows.copy(&from, &mut to).unwrap();
            let mut found = [0; 4 * 4096];
            world.windows.copy_from(&to, 0, &mut found).unwrap();
            assert_eq!((&found[..9], found[9], &found[10..]), (&bytes[..9], round as u8, &bytes[10..]));
        }
        world.windows.copy(&from, &mut small).unwrap();
        assert_eq!(world.peek(small.pfn().plus(1), 4095), bytes[2 * 4096 - 1]);
        world.windows.copy(&small, &mut to).unwrap();
        assert_eq!(world.machine.counters().remote_flushes, before.0.remote_flushes);
        assert_eq!(world.windows.counters().open, 0);
        // Three are open at once, and the copy wants two.
        let deep = world.windows.with_page(&mut small, 0, |_| {
            let from = &from;
            let mut inner = world.take(cpu.pinned(), 0);
            let refused = world.windows.with_page(&mut inner, 0, |_| world.windows.copy(from, &mut to));
            world.frames.free(cpu.pinned(), inner);
            refused.unwrap()
        });
        assert_eq!(deep.unwrap(), Err(CopyError::Window(WindowError::TooDeep)));
        world.give(cpu.pinned(), vec![from, to, small]);
    });
}
