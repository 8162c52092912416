//! Allocators of one program are told apart by their handles, however many were refused before. Alone in this program,
//! because the numbers are the program's.

use rhumb_frames::{Frames, Layout, LayoutError, MemoryRange, Request};
use rhumb_hosted::{HostedMachine, LargePages};
use rhumb_machine::{CpuId, NodeId, PfnRange, PhysAddr, PhysRange};

#[test]
fn allocators_that_were_refused_use_no_number_up() {
    let ram = PhysRange::of_length(PhysAddr::new(4 << 30), 8 << 20).unwrap();
    let machine = HostedMachine::builder().cpus(1).ram(ram).large_pages(LargePages::Never).build().unwrap();
    let machine: &'static HostedMachine = Box::leak(Box::new(machine));
    let [first, second] = {
        let (start, end) = (ram.whole_frames().start(), ram.whole_frames().end());
        let middle = start.plus(1024);
        [PfnRange::new(start, middle).unwrap(), PfnRange::new(middle, end).unwrap()]
    };
    let build = |memory: PfnRange, free: PfnRange| {
        let memory = [MemoryRange { frames: memory, node: NodeId::FIRST }];
        let layout = Layout::new(&memory, 1, memory[0].frames.end()).unwrap();
        let storage = vec![0u64; layout.storage_bytes().div_ceil(8)].leak();
        // SAFETY: nothing else uses the RAM, and the storage is outside it.
        unsafe { Frames::new(machine, &layout, [free], storage) }
    };
    machine
        .enter(CpuId::BOOT, |cpu| {
            for _ in 0..200 {
                assert_eq!(build(first, second).err(), Some(LayoutError::NotMemory(second)));
            }
            let (one, other) = (build(first, first).unwrap(), build(second, second).unwrap());
            assert_ne!(one.brand(), other.brand());
            let frame = one.alloc(cpu.pinned(), Request::FRAME).unwrap();
            other.free(cpu.pinned(), frame);
            assert_eq!(other.refused_frees(), 1);
        })
        .unwrap();
}
