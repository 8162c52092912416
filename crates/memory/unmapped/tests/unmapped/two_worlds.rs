//! Two machines in one program, whose frames have the same numbers: pool and windows of one refuse frames of the other.

use rhumb_directmap::{At, Batch, Cause, Change};
use rhumb_frames::Request;
use rhumb_hosted::mmu::MmuConfig;
use rhumb_machine::CpuId;
use rhumb_unmapped::GiveError;
use rhumb_windows::WindowError;
use rhumb_windows::error::CopyError;

use crate::world::{ALICE, BOB, GIB, World};

#[test]
fn i5_i6_a_frame_of_another_pool_is_refused_and_its_namesake_stays_as_it_is() {
    let worlds = [(); 2].map(|()| World::new(1, GIB, 16, MmuConfig::new(1)));
    let take = |world: &'static World, owner| {
        world.machine.enter(CpuId::BOOT, |cpu| world.take(cpu.pinned(), owner).unwrap()).unwrap()
    };
    let (one, other) = (worlds[0], worlds[1]);
    let (mine, mut theirs) = (take(one, ALICE), take(other, BOB));
    let pfn = mine.pfn();
    assert_eq!(theirs.pfn(), pfn);
    let (mine, theirs) = other
        .machine
        .enter(CpuId::BOOT, |cpu| {
            other.windows.copy_to(&mut theirs, 0, b"their secret").unwrap();
            let mut mine = mine;
            let refused = Err(CopyError::Window(WindowError::OtherAllocator));
            let mut read = [0; 12];
            assert_eq!(other.windows.copy_from(&mine, 0, &mut read), refused);
            assert_eq!(other.windows.copy_to(&mut mine, 0, b"overwritten!"), refused);
            assert_eq!(other.windows.zero(&mut mine), refused);
            let shown = other.windows.with_page(&mut mine, 0, |_| ());
            assert_eq!(shown, Err(WindowError::OtherAllocator));
            let refused = other.pool().give(cpu.pinned(), mine).unwrap_err();
            assert_eq!(refused.error, GiveError::Foreign { pfn });
            other.windows.copy_from(&theirs, 0, &mut read).unwrap();
            assert_eq!(&read, b"their secret");
            assert_eq!(other.pool().account(BOB).unwrap().frames(), 1);
            (refused.frame, theirs)
        })
        .unwrap();
    for (world, frame) in [(one, mine), (other, theirs)] {
        world.machine.enter(CpuId::BOOT, |cpu| world.pool().give(cpu.pinned(), frame).unwrap()).unwrap();
    }
}

#[test]
#[should_panic = "another machine"]
fn i6_a_batch_that_another_machine_has_flushed_is_refused() {
    let worlds = [(); 2].map(|()| World::new(1, GIB, 64, MmuConfig::new(1)));
    let (one, other) = (worlds[0], worlds[1]);
    let mut batch = Batch::new();
    one.machine
        .enter(CpuId::BOOT, |cpu| {
            let frame = one.frames.alloc(cpu.pinned(), Request::FRAME).unwrap();
            let (cause, at) =
                (Cause::new(one.map_owner(ALICE), "a test"), At::now(&one.machine, cpu.pinned()));
            let mut map = one.map.lock().unwrap();
            // SAFETY: the frame's handle is here.
            let held = unsafe { map.change(frame.frames(), Change::NotPresent, cause, at, &mut batch) };
            map.leave(held.unwrap());
            let _ = frame.into_pfn();
        })
        .unwrap();
    let flushed = other.machine.enter(CpuId::BOOT, |cpu| batch.flush(&other.machine, cpu.pinned())).unwrap();
    one.map.lock().unwrap().reclaim_tables(flushed);
}
