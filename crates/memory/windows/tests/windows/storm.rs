//! Windows while a handler that uses windows strikes between any two instructions.
//!
//! A signal's handler may take no lock, so the tables here are arrays, and so is the TLB: it learns a slot when the
//! slot is used, and forgets all of them in a flush.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use rhumb_frames::{Frame, Frames, Layout, MemoryRange, Request};
use rhumb_hosted::{HostedMachine, LargePages};
use rhumb_machine::{CpuId, CpuSet, FlushScope, Machine, NodeId, PageSize, Pinned, Tlb, VirtAddr};
use rhumb_pagetable::Entry;
use rhumb_windows::planted::{self, Fault};
use rhumb_windows::{CpuSlots, SLOTS, WindowTables, Windows};

use crate::world::{Hosted, phys};

struct Cpu0 {
    entries: [AtomicU64; SLOTS],
    tlb: [AtomicU64; SLOTS],
}

/// A hosted machine whose flushes empty the TLB of arrays.
#[derive(Clone, Copy)]
struct WithTlb(Hosted, &'static Cpu0);

// SAFETY: all promises but that of flushes are the hosted machine's; the only translations are those of `tlb`.
unsafe impl Machine for WithTlb {
    fn direct_map_base(&self) -> VirtAddr {
        self.0.direct_map_base()
    }
    fn cpu_count(&self) -> usize {
        self.0.cpu_count()
    }
    fn node_of(&self, cpu: CpuId) -> NodeId {
        self.0.node_of(cpu)
    }
    fn preempt_disable(&self) -> CpuId {
        self.0.preempt_disable()
    }
    unsafe fn preempt_enable(&self) {
        // SAFETY: the caller promises what the hosted machine asks, the end of its own `preempt_disable`.
        unsafe { self.0.preempt_enable() }
    }
    fn irq_save(&self) -> CpuId {
        self.0.irq_save()
    }
    unsafe fn irq_restore(&self) {
        // SAFETY: the caller promises what the hosted machine asks, the end of its own `irq_save`.
        unsafe { self.0.irq_restore() }
    }
    fn now_ns(&self) -> u64 {
        self.0.now_ns()
    }
}

// SAFETY: the only translations are those of `tlb`, and there is one CPU.
unsafe impl Tlb for WithTlb {
    fn flush_local(&self, _: Pinned<'_>, _: FlushScope<'_>) {
        self.1.tlb.iter().for_each(|translation| translation.store(0, Relaxed));
    }

    fn flush_remote(&self, _: Pinned<'_>, _: &CpuSet, _: FlushScope<'_>) {}
}

// SAFETY: a slot shows the frame that the TLB knows it by: that of its entry when it was used first since the flush.
unsafe impl WindowTables for WithTlb {
    fn write(&self, _: CpuId, slot: usize, entry: Entry) {
        self.1.entries[slot].store(entry.bits(), Relaxed);
    }
    fn read(&self, _: CpuId, slot: usize) -> Entry {
        Entry::from_bits(self.1.entries[slot].load(Relaxed))
    }
    fn show(&self, _: CpuId, slot: usize) -> VirtAddr {
        let known = &self.1.tlb[slot];
        if known.load(Relaxed) == 0 {
            known.store(self.1.entries[slot].load(Relaxed), Relaxed);
        }
        // A slot that shows nothing leads to frame 0, which no window is for.
        self.0.direct(Entry::from_bits(known.load(Relaxed)).phys(PageSize::Size4K))
    }
}

/// Counts how many bytes were not what they must be.
fn wrong_in_a_storm(fault: Option<Fault>) -> u64 {
    let machine = HostedMachine::builder().cpus(1).large_pages(LargePages::Never).ram(phys(0, 4 << 20));
    let machine: Hosted = Box::leak(Box::new(machine.build().unwrap()));
    let cpu0: &'static Cpu0 = Box::leak(Box::new(Cpu0 {
        entries: [const { AtomicU64::new(0) }; SLOTS],
        tlb: [const { AtomicU64::new(0) }; SLOTS],
    }));
    let machine = WithTlb(machine, cpu0);
    let slots = vec![Box::leak(Box::new(CpuSlots::new()))].leak();
    machine
        .0
        .enter(CpuId::BOOT, |cpu| {
            let ram = phys(2 << 20, 2 << 20).whole_frames();
            let memory = [MemoryRange { frames: ram, node: NodeId::FIRST }];
            let layout = Layout::new(&memory, 1, ram.end()).unwrap();
            let storage = vec![0u64; layout.storage_bytes().div_ceil(8)].leak();
            // SAFETY: the frames are in the machine's RAM, of which nothing else is used.
            let frames = unsafe { Frames::new(machine, &layout, [ram], storage) }.unwrap();
            let windows = Windows::new(&frames, machine, slots);
            let windows: &Windows<WithTlb, WithTlb> = Box::leak(Box::new(windows));
            let mut taken: Vec<Frame> =
                (0..3).map(|_| frames.alloc(cpu.pinned(), Request::FRAME).unwrap()).collect();
            let [own, nested, handlers] = &mut taken[..] else { panic!() };
            let (mut strikes, wrong) = (0u64, AtomicU64::new(0));
            let expect = |is_right: bool| {
                wrong.fetch_add(u64::from(!is_right), Relaxed);
            };
            let mut handler = |_: rhumb_machine::IrqOff<'_>| {
                strikes += 1;
                let mut read = [0; 8];
                expect(windows.copy_to(handlers, 8, &strikes.to_le_bytes()).is_ok());
                expect(windows.copy_from(handlers, 8, &mut read).is_ok() && read == strikes.to_le_bytes());
            };
            let body = || {
                for round in 0..20_000u64 {
                    let bytes = round.to_le_bytes();
                    let (mut mine, mut copied) = ([0; 8], [0; 8]);
                    let opened = windows.with_page(own, 0, |window| {
                        expect(window.copy_to(8, &bytes).is_ok());
                        expect(windows.copy_to(nested, 8, &bytes).is_ok());
                        expect(window.copy_from(8, &mut mine).is_ok());
                    });
                    expect(opened.is_ok());
                    expect(windows.copy_from(nested, 8, &mut copied).is_ok());
                    expect(mine == bytes && copied == bytes);
                }
            };
            // SAFETY: the handler touches atomics, a frame that is its own, and its own count.
            let storm = || unsafe { cpu.with_storm(&mut handler, body) }.unwrap();
            let ((), struck) = match fault {
                Some(fault) => planted::with(fault, storm),
                None => storm(),
            };
            assert!(struck > 10, "struck {struck} times");
            taken.into_iter().for_each(|frame| frames.free(cpu.pinned(), frame));
            wrong.into_inner()
        })
        .unwrap()
}

#[test]
fn a_storm_finds_every_window_whole() {
    assert_eq!(wrong_in_a_storm(None), 0);
}

#[test]
fn a_storm_finds_windows_with_interrupts_on() {
    // The strikes come where they come: a few storms, one of which is enough.
    let wrong = (0..20).any(|_| wrong_in_a_storm(Some(Fault::InterruptibleWindow)) > 0);
    assert!(wrong, "the planted fault was not seen");
}
