//! From nothing to an allocated frame: what a kernel has to write. `cargo run -p rhumb-hosted --example bring_up`
use rhumb_frames::{Frames, Layout, MemoryRange, Request};
use rhumb_hosted::HostedMachine;
use rhumb_machine::*;

/// Your kernel. This one has a single CPU; its RAM is a reservation of this process. On bare metal it is a unit
/// struct, `direct_map_base` a constant, and the other bodies are one instruction each.
struct MyKernel(HostedMachine);

// SAFETY: one CPU, one thread, no interrupts, no translation that could be stale: each promise holds by itself.
unsafe impl Machine for MyKernel {
    fn direct_map_base(&self) -> VirtAddr {
        self.0.direct_map_base()
    }
    fn cpu_count(&self) -> usize {
        1
    }
    fn node_of(&self, _: CpuId) -> NodeId {
        NodeId::FIRST
    }
    fn preempt_disable(&self) -> CpuId {
        CpuId::BOOT
    }
    unsafe fn preempt_enable(&self) {}
    fn irq_save(&self) -> CpuId {
        CpuId::BOOT
    }
    unsafe fn irq_restore(&self) {}
    fn now_ns(&self) -> u64 {
        self.0.now_ns()
    }
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    // The boot loader's map: RAM from 16 MiB to 1 GiB, all of it free.
    let kernel = MyKernel(HostedMachine::builder().cpus(1).ram_bytes(1 << 30).build()?);
    let free = PfnRange::new(Pfn::new(16 << 8), Pfn::new(1 << 18)).unwrap_or_default();
    let memory = [MemoryRange { frames: free, node: NodeId::FIRST }];
    let layout = Layout::new(&memory, kernel.cpu_count(), free.end())?;
    // Zeroed memory for the allocator's own bits, 0.16 byte a frame: a kernel takes it from the boot allocator.
    let storage = Box::leak(vec![0; layout.storage_bytes().div_ceil(8)].into_boxed_slice());
    // SAFETY: no code uses the free frames, and the storage is not among them.
    let frames = unsafe { Frames::new(kernel, &layout, [free], storage) }?;

    let pin = frames.machine().pin();
    let frame = frames.alloc(pin.pinned(), Request::FRAME)?;
    let word = frames.machine().direct(frame.addr()).as_mut_ptr::<u64>();
    // SAFETY: the frame is ours, and the direct map shows it.
    unsafe { word.write(42) };
    let large = frames.alloc(pin.pinned(), Request::LARGE)?;
    println!("a frame at {}, 2 MiB at {}", frame.addr(), large.addr());
    frames.free(pin.pinned(), frame);
    frames.free(pin.pinned(), large);
    Ok(())
}
