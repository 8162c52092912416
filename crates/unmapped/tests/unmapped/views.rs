//! Windows: in turn, nested, held over a wrap, and against a plain copy of all bytes.

use proptest::prelude::*;
use rhumb_frames::{Frame, Unmapped};
use rhumb_hosted::interrupt::Strike;
use rhumb_machine::{Machine, Order, Pinned};
use rhumb_unmapped::windows::copy::CopyError;
use rhumb_unmapped::windows::{OutOfFrame, RESERVED, SLOTS, WindowError, Windows, slot_address};

use crate::world::*;

const RING: usize = SLOTS - RESERVED;

fn take(world: &'static World, pinned: Pinned<'_>, frames: usize) -> Vec<Frame<Unmapped>> {
    (0..frames).map(|_| world.take(pinned, ALICE).unwrap()).collect()
}

fn give(world: &'static World, pinned: Pinned<'_>, frames: Vec<Frame<Unmapped>>) {
    frames.into_iter().for_each(|frame| world.pool().give(pinned, frame).unwrap());
    world.assert_healed();
}

#[test]
fn no_other_cpu_hears_of_a_window_and_one_local_flush_does_for_a_wrap() {
    in_world(3, 2 * GIB, 16, |world, cpu| {
        let mut frames = take(world, cpu.pinned(), 4);
        let (before, windows_before) = (world.machine.counters(), world.windows.counters());
        for round in 0..10 * RING {
            let frame = &mut frames[round % 4];
            let mut window = world.windows.open(cpu.pinned(), frame, 0).unwrap();
            window.copy_to(round as u64 % 4000, &[round as u8]).unwrap();
        }
        let done = world.machine.counters() - before;
        assert_eq!((done.remote_flushes, done.flush_interrupts), (0, 0));
        let windows = world.windows.counters();
        assert_eq!(done.local_flushes, windows.wraps - windows_before.wraps);
        assert!((9..=10).contains(&done.local_flushes), "{done:?}");
        assert_eq!(windows.opened - windows_before.opened, 10 * RING as u64);
        world.windows.validate().unwrap();
        give(world, cpu.pinned(), frames);
    });
}

#[test]
fn all_windows_held_and_still_there_is_one_for_whom_nothing_interrupts() {
    in_world(1, 2 * GIB, 16, |world, cpu| {
        let mut frames = take(world, cpu.pinned(), SLOTS + 1);
        let (held, rest) = frames.split_at_mut(RING);
        let windows: Vec<_> =
            held.iter_mut().map(|frame| world.windows.open(cpu.pinned(), frame, 0).unwrap()).collect();
        assert_eq!(world.windows.open(cpu.pinned(), &mut rest[0], 0).err(), Some(WindowError::NoSlot));
        world.windows.validate().unwrap();
        // Copies, and zeroing on the way back into the pool, need no more than the reserve.
        world.windows.copy_to(cpu.pinned(), &mut rest[0], 0, b"through the reserve").unwrap();
        world.windows.zero(cpu.pinned(), &mut rest[1]).unwrap();
        let guard = world.machine.irq_off();
        let (reserve, last) = rest.split_at_mut(RESERVED);
        let nested: Vec<_> = reserve
            .iter_mut()
            .map(|frame| world.windows.open_nested(guard.irq_off(), frame, 0).unwrap())
            .collect();
        let last = world.windows.open_nested(guard.irq_off(), &mut last[0], 0).err();
        assert_eq!(last, Some(WindowError::NoSlot));
        drop(nested);
        drop(guard);
        drop(windows);
        assert_eq!(world.windows.counters().held, 0);
        give(world, cpu.pinned(), frames);
    });
}

#[test]
fn a_window_that_is_held_over_wraps_stays_what_it_is() {
    in_world(1, 2 * GIB, 16, |world, cpu| {
        let mut frames = take(world, cpu.pinned(), 3);
        let [kept, other, third] = &mut frames[..] else { panic!() };
        for turn in 0..3u8 {
            let mut window = world.windows.open(cpu.pinned(), kept, 0).unwrap();
            for round in 0..2 * SLOTS {
                world.windows.copy_to(cpu.pinned(), other, 0, &[round as u8]).unwrap();
                window.copy_to(u64::from(turn), &[turn + 1]).unwrap();
            }
            drop(window);
            // Its slot is spent since the last flush: not to be had before the next.
            for _ in 0..SLOTS {
                world.windows.copy_to(cpu.pinned(), third, 0, &[9]).unwrap();
            }
        }
        let first = |frame: &Frame<Unmapped>| world.peek(frame.pfn(), 0);
        assert_eq!((first(kept), world.peek(kept.pfn(), 2), first(third)), (1, 3, 9));
        world.windows.open(cpu.pinned(), kept, 0).unwrap().close_flushed();
        assert_eq!(world.windows.counters().single_flushes, 1);
        world.windows.validate().unwrap();
        give(world, cpu.pinned(), frames);
    });
}

#[test]
fn a_slot_that_a_cpu_keeps_is_never_a_window() {
    in_world(1, 2 * GIB, 16, |world, cpu| {
        let slots = world.slots();
        slots[0].keep(SLOTS - 1);
        let windows = Windows::new(world.machine, world.hosted_windows(), slots);
        let own = windows.machine().irq_off();
        let mut frames = take(world, cpu.pinned(), SLOTS);
        {
            let mut held: Vec<_> =
                frames.iter_mut().map(|frame| windows.open_nested(own.irq_off(), frame, 0)).collect();
            assert_eq!(held.pop().unwrap().err(), Some(WindowError::NoSlot));
            let last = slot_address(cpu.pinned().cpu(), SLOTS - 1);
            assert!(held.iter().all(|window| window.as_ref().unwrap().address() != last));
            assert_eq!(windows.counters().held, (SLOTS - 1) as u64);
        }
        assert_eq!(windows.counters().held, 0);
        drop(own);
        give(world, cpu.pinned(), frames);
    });
}

#[test]
fn a_handler_that_uses_windows_strikes_anywhere() {
    in_world(1, 2 * GIB, 16, |world, cpu| {
        let mut frames = take(world, cpu.pinned(), 4);
        let [own, from, handlers, nested] = &mut frames[..] else { panic!() };
        let mut strikes = 0u32;
        let mut handler = |irq_off: rhumb_machine::IrqOff<'_>| {
            strikes += 1;
            let bytes = strikes.to_le_bytes();
            world.windows.copy_to(irq_off.pinned(), handlers, 4, &bytes).unwrap();
            let mut one = world.windows.open_nested(irq_off, handlers, 0).unwrap();
            let mut two = world.windows.open_nested(irq_off, nested, 0).unwrap();
            let mut read = [0; 4];
            one.copy_from(4, &mut read).unwrap();
            two.copy_to(8, &read).unwrap();
            one.copy_to(0, &[7]).unwrap();
        };
        let (_, struck) = cpu.with_interrupts(Strike::Every { points: 1 }, &mut handler, || {
            for round in 0..2000u32 {
                let mut window = world.windows.open(cpu.pinned(), own, 0).unwrap();
                window.copy_to(16, &round.to_le_bytes()).unwrap();
                world.windows.copy_to(cpu.pinned(), from, 0, &round.to_le_bytes()).unwrap();
                let (mut mine, mut copied) = ([0; 4], [0; 4]);
                window.copy_from(16, &mut mine).unwrap();
                world.windows.copy_from(cpu.pinned(), from, 0, &mut copied).unwrap();
                assert_eq!((mine, copied), (round.to_le_bytes(), round.to_le_bytes()));
            }
        });
        assert!(struck > 4000, "{struck}");
        let read: Vec<u8> = (0..4).map(|byte| world.peek(nested.pfn(), 8 + byte)).collect();
        assert_eq!(read, strikes.to_le_bytes());
        world.windows.validate().unwrap();
        assert_eq!(world.windows.counters().held, 0);
        give(world, cpu.pinned(), frames);
    });
}

#[test]
fn what_is_not_within_the_frame_is_refused() {
    in_world(1, 2 * GIB, 16, |world, cpu| {
        let mut frame = world.pool().take(cpu.pinned(), ALICE, Order::new(1).unwrap()).unwrap();
        let out =
            |offset, bytes, size_bytes| Err(CopyError::OutOfFrame(OutOfFrame { offset, bytes, size_bytes }));
        let windows = &world.windows;
        assert_eq!(windows.copy_to(cpu.pinned(), &mut frame, 8191, &[0; 2]), out(8191, 2, 8192));
        assert_eq!(windows.copy_from(cpu.pinned(), &frame, u64::MAX, &mut [0; 2]), out(u64::MAX, 2, 8192));
        assert_eq!(windows.copy_to(cpu.pinned(), &mut frame, 8192, &[]), Ok(()));
        assert_eq!(
            windows.open(cpu.pinned(), &mut frame, 2).err(),
            Some(WindowError::NoSuchPage { page: 2, pages: 2 })
        );
        let mut window = windows.open(cpu.pinned(), &mut frame, 1).unwrap();
        assert_eq!(window.zero(1, 4096), Err(OutOfFrame { offset: 1, bytes: 4096, size_bytes: 4096 }));
        drop(window);
        give(world, cpu.pinned(), vec![frame]);
    });
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(16))]

    #[test]
    fn copies_do_what_they_do_to_a_plain_array(
        steps in prop::collection::vec((0usize..3, 0u64..4 * 4096, 0usize..6000, any::<u8>(), 0u8..3), 1..60),
    ) {
        in_world(1, GIB, 16, |world, cpu| {
            let mut frames: Vec<_> =
                (0..3).map(|_| world.pool().take(cpu.pinned(), ALICE, Order::new(2).unwrap()).unwrap()).collect();
            let mut model = vec![vec![0u8; 4 * 4096]; 3];
            for (which, offset, bytes, byte, what) in steps {
                let fits = offset as usize + bytes <= 4 * 4096;
                let place = offset as usize..(offset as usize + bytes).min(4 * 4096);
                match what {
                    0 => {
                        let done = world.windows.copy_to(cpu.pinned(), &mut frames[which], offset, &vec![byte; bytes]);
                        assert_eq!(done.is_ok(), fits);
                        if fits {
                            model[which][place].fill(byte);
                        }
                    }
                    1 => {
                        let mut read = vec![0; bytes];
                        let done = world.windows.copy_from(cpu.pinned(), &frames[which], offset, &mut read);
                        assert_eq!(done.is_ok(), fits);
                        assert!(!fits || read == model[which][place]);
                    }
                    _ => {
                        world.windows.zero(cpu.pinned(), &mut frames[which]).unwrap();
                        model[which].fill(0);
                    }
                }
            }
            world.windows.validate().unwrap();
            give(world, cpu.pinned(), frames);
        });
    }
}
