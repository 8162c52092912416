//! A machine for a pool: frames, windows, one table of large pages, and CPUs that cache all they can.
//!
//! Each CPU keeps every translation, and every instruction byte that it has fetched, until it flushes or serialises: the
//! worst that hardware may do. Whenever the pool asks for anything, all CPUs fetch bytes of the parts that are to stay
//! (`watched`), and so they are caught in the middle of each change. A broken rule panics.

use std::boxed::Box;
use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::vec;
use std::vec::Vec;

use rhumb_machine::{VirtAddr, VirtRange};
use rhumb_pagetable::Access;

use crate::home::{BlockPlace, DataPlace, Home};
use crate::size::BLOCK_BYTES;
use crate::size::{PAGE_BYTES, PageBytes};
use crate::{Changes, CodePool, Index, Kind, NoFrames};

pub(super) const BASE: VirtAddr = VirtAddr::new(0xffff_ffff_c000_0000);
pub(super) const CPUS: usize = 3;

/// A translation.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Entry {
    frames: usize,
    access: Access,
}

#[derive(Default)]
struct Cpu {
    tlb: HashMap<u64, Entry>,
    /// Instruction bytes that were fetched, by address.
    fetched: HashMap<u64, u8>,
}

struct Memory {
    bytes: Vec<u8>,
    /// A window was opened onto it and is not known to be gone.
    has_window: bool,
    is_out: bool,
}

/// The hardware.
pub(super) struct Hardware {
    memory: RefCell<Vec<Memory>>,
    table: RefCell<HashMap<u64, Entry>>,
    cpus: RefCell<[Cpu; CPUS]>,
    watched: RefCell<Vec<(u64, Vec<u8>)>>,
    /// Blocks of frames that can still be had.
    pub(super) left: Cell<usize>,
    pub(super) flushes: Cell<usize>,
    pub(super) pages_written: Cell<usize>,
}

/// Frames of the machine.
#[derive(Debug)]
pub(super) struct TestFrames(usize);

/// The home: the hardware and the two locks.
pub(super) struct TestHome {
    pub(super) hardware: &'static Hardware,
    changes: RefCell<Changes<TestFrames>>,
    index: RefCell<Index>,
}

/// A pool of so many blocks of addresses, and its hardware, which has so many blocks of frames.
pub(super) fn pool(slots: u64, frames: usize) -> (CodePool<TestHome>, &'static Hardware) {
    let hardware = Box::leak(Box::new(Hardware {
        memory: RefCell::default(),
        table: RefCell::default(),
        cpus: RefCell::default(),
        watched: RefCell::default(),
        left: Cell::new(frames),
        flushes: Cell::new(0),
        pages_written: Cell::new(0),
    }));
    (pool_on(hardware, slots), hardware)
}

/// Another pool on the same hardware: of other addresses, as a kernel would have it.
pub(super) fn pool_on(hardware: &'static Hardware, slots: u64) -> CodePool<TestHome> {
    let home = TestHome { hardware, changes: RefCell::default(), index: RefCell::default() };
    CodePool::new(home, VirtRange::of_length(BASE, slots * BLOCK_BYTES).unwrap())
}

impl Hardware {
    fn block_of(address: u64) -> u64 {
        address & !(BLOCK_BYTES - 1)
    }

    /// Returns the translation that a CPU uses: the one that it has cached, if it has.
    fn translate(&self, cpu: usize, address: u64) -> Option<Entry> {
        let block = Self::block_of(address);
        let mut cpus = self.cpus.borrow_mut();
        if let Some(&cached) = cpus[cpu].tlb.get(&block) {
            return Some(cached);
        }
        let entry = *self.table.borrow().get(&block)?;
        cpus[cpu].tlb.insert(block, entry);
        Some(entry)
    }

    fn load(&self, entry: Entry, address: u64) -> u8 {
        self.memory.borrow()[entry.frames].bytes[(address % BLOCK_BYTES) as usize]
    }

    /// Reads a byte on a CPU; `None` where that faults.
    pub(super) fn read(&self, cpu: usize, address: VirtAddr) -> Option<u8> {
        let entry = self.translate(cpu, address.get())?;
        Some(self.load(entry, address.get()))
    }

    /// Fetches an instruction byte on a CPU; `None` where that faults.
    pub(super) fn fetch(&self, cpu: usize, address: VirtAddr) -> Option<u8> {
        let at = address.get();
        if let Some(&byte) = self.cpus.borrow()[cpu].fetched.get(&at) {
            return Some(byte);
        }
        let entry = self.translate(cpu, at).filter(|entry| entry.access == Access::ReadExecute)?;
        let byte = self.load(entry, at);
        self.cpus.borrow_mut()[cpu].fetched.insert(at, byte);
        Some(byte)
    }

    /// Writes a byte on a CPU; false where that faults.
    pub(super) fn store(&self, cpu: usize, address: VirtAddr, byte: u8) -> bool {
        let entry = self.translate(cpu, address.get());
        let Some(entry) = entry.filter(|entry| entry.access == Access::ReadWrite) else { return false };
        self.memory.borrow_mut()[entry.frames].bytes[(address.get() % BLOCK_BYTES) as usize] = byte;
        true
    }

    /// Has all CPUs look at these bytes of code whenever anything happens.
    pub(super) fn watch(&self, parts: Vec<(VirtAddr, Vec<u8>)>) {
        let watched = parts.into_iter().map(|(at, bytes)| (at.get(), bytes));
        *self.watched.borrow_mut() = watched.collect();
        self.look();
    }

    /// All CPUs run all code that stays.
    fn look(&self) {
        let watched = self.watched.borrow();
        for cpu in 0..CPUS {
            for (at, bytes) in watched.iter() {
                for (offset, &byte) in bytes.iter().enumerate() {
                    let found = self.fetch(cpu, VirtAddr::new(at + offset as u64));
                    assert_eq!(found, Some(byte), "CPU {cpu} at {at:#x}+{offset:#x}");
                }
            }
        }
    }

    /// All translations of these frames, in the table and in TLBs.
    fn translations_of(&self, frames: usize) -> Vec<Entry> {
        let table = self.table.borrow();
        let cpus = self.cpus.borrow();
        let cached = cpus.iter().flat_map(|cpu| cpu.tlb.values());
        table.values().chain(cached).filter(|entry| entry.frames == frames).copied().collect()
    }

    /// Returns how many blocks of frames are out.
    pub(super) fn out(&self) -> usize {
        self.memory.borrow().iter().filter(|memory| memory.is_out).count()
    }

    /// Looks at every frame: no window on what is mapped, no frame twice, none writable and executable.
    pub(super) fn audit(&self) {
        for (frames, memory) in self.memory.borrow().iter().enumerate() {
            let translations = self.translations_of(frames);
            assert!(translations.is_empty() || memory.is_out, "frames {frames} went back mapped");
            let can = |access| translations.iter().any(|entry| entry.access == access);
            assert!(!(can(Access::ReadWrite) && can(Access::ReadExecute)), "I4: frames {frames}");
            assert!(!(memory.has_window && can(Access::ReadExecute)), "I4: a window onto frames {frames}");
        }
    }
}

// SAFETY: all is simulated; the pool's addresses are used by nothing else.
#[expect(unsafe_code, reason = "implements an unsafe trait")]
unsafe impl Home for TestHome {
    type Frames = TestFrames;

    fn with_changes<A>(&self, act: impl FnOnce(&mut Changes<TestFrames>) -> A) -> A {
        act(&mut self.changes.borrow_mut())
    }

    fn with_index<A>(&self, act: impl FnOnce(&mut Index) -> A) -> A {
        act(&mut self.index.borrow_mut())
    }

    fn try_with_index<A>(&self, act: impl FnOnce(&mut Index) -> A) -> Option<A> {
        Some(act(&mut *self.index.try_borrow_mut().ok()?))
    }

    fn take_frames(&self, fill: u8) -> Result<TestFrames, NoFrames> {
        let hardware = self.hardware;
        hardware.left.set(hardware.left.get().checked_sub(1).ok_or(NoFrames::NoBlock)?);
        let mut memory = hardware.memory.borrow_mut();
        let bytes = vec![fill; BLOCK_BYTES as usize];
        match memory.iter().position(|memory| !memory.is_out) {
            Some(free) => {
                memory[free] = Memory { bytes, has_window: false, is_out: true };
                Ok(TestFrames(free))
            }
            None => {
                memory.push(Memory { bytes, has_window: false, is_out: true });
                Ok(TestFrames(memory.len() - 1))
            }
        }
    }

    fn give_frames(&self, frames: TestFrames) {
        self.hardware.look();
        assert_eq!(self.hardware.translations_of(frames.0), [], "I6: frames {} go back in use", frames.0);
        let memory = &mut self.hardware.memory.borrow_mut()[frames.0];
        assert!(memory.is_out);
        memory.is_out = false;
        // Their next holder writes them.
        memory.bytes.fill(0xee);
        self.hardware.left.set(self.hardware.left.get() + 1);
    }

    fn write_page(&self, frames: &mut TestFrames, page: usize, bytes: &PageBytes) {
        let hardware = self.hardware;
        // Where a whole block is copied, a look at each page would take the longest.
        if page.is_multiple_of(32) {
            hardware.look();
        }
        assert_eq!(hardware.translations_of(frames.0), [], "I6: frames {} are written in use", frames.0);
        let memory = &mut hardware.memory.borrow_mut()[frames.0];
        assert!(memory.is_out);
        memory.has_window = true;
        memory.bytes[page * PAGE_BYTES..][..PAGE_BYTES].copy_from_slice(bytes);
        hardware.pages_written.set(hardware.pages_written.get() + 1);
    }

    fn end_writing(&self) {
        self.hardware.look();
        self.hardware.memory.borrow_mut().iter_mut().for_each(|memory| memory.has_window = false);
    }

    fn map(&self, block: BlockPlace, frames: &TestFrames, access: Access) {
        let entry = Entry { frames: frames.0, access };
        assert_eq!(self.hardware.translations_of(frames.0), [], "frames {} are mapped twice", frames.0);
        self.hardware.table.borrow_mut().insert(block.start().get(), entry);
        self.hardware.audit();
        self.hardware.look();
    }

    fn unmap(&self, block: BlockPlace) {
        assert!(self.hardware.table.borrow_mut().remove(&block.start().get()).is_some());
    }

    fn flush(&self, block: BlockPlace) {
        self.hardware.look();
        for cpu in self.hardware.cpus.borrow_mut().iter_mut() {
            cpu.tlb.remove(&block.start().get());
            cpu.fetched.clear();
        }
        self.hardware.flushes.set(self.hardware.flushes.get() + 1);
        self.hardware.look();
        self.hardware.audit();
    }

    fn read_page(&self, block: BlockPlace, page: usize, into: &mut PageBytes) {
        let entry = self.hardware.translate(0, block.start().get()).expect("a block that is read is mapped");
        let memory = self.hardware.memory.borrow();
        into.copy_from_slice(&memory[entry.frames].bytes[page * PAGE_BYTES..][..PAGE_BYTES]);
    }

    fn clear(&self, place: &DataPlace) {
        self.write_data(place, &vec![0; place.range().bytes() as usize]);
    }

    fn write_data(&self, place: &DataPlace, bytes: &[u8]) {
        assert!(bytes.len() as u64 <= place.range().bytes());
        for (offset, &byte) in bytes.iter().enumerate() {
            assert!(self.hardware.store(0, place.range().start().plus(offset as u64), byte));
        }
    }

    fn access_of(&self, block: BlockPlace) -> Option<Access> {
        self.hardware.table.borrow().get(&block.start().get()).map(|entry| entry.access)
    }
}

/// Bytes that tell parts apart: none is that of free memory.
pub(super) fn code(seed: u64, bytes: u64) -> Vec<u8> {
    (0..bytes).map(|at| 1 + ((seed * 37 + at * 7) % 0xc8) as u8).collect()
}

/// Checks the pool, the hardware, and that `part` reads and runs as `bytes` everywhere.
pub(super) fn must_be(hardware: &Hardware, start: VirtAddr, kind: Kind, bytes: &[u8]) {
    for cpu in 0..CPUS {
        for (offset, &byte) in bytes.iter().enumerate() {
            let at = start.plus(offset as u64);
            assert_eq!(hardware.read(cpu, at), Some(byte), "CPU {cpu} at {at}");
            let runs = (kind == Kind::Code).then_some(byte);
            assert_eq!(hardware.fetch(cpu, at), runs, "CPU {cpu} at {at}");
        }
    }
}
