//! Much data: more than translation caches reach, so that the size of pages shows.
//!
//! Each run goes on where the last one ended, at places that a random sequence draws: the same places in each boot. A
//! region takes its memory when it is prepared, and its runs allocate nothing.

use alloc::boxed::Box;
use alloc::vec::Vec;
use core::cell::Cell;
use core::hint::black_box;

use rhumb_frames::{Frame, Request};
use rhumb_machine::Machine;

use super::Operation;
use crate::cpu::machine::MACHINE;
use crate::facts::Boot;
use crate::lab::failure::{Failure, ensure};
use crate::mm;

regions! {
    256: Pages<8>, "study/pages/8m", "read 64 bytes of each of 1,024 random pages of 8 MiB of single frames";
    257: Pages<64>, "study/pages/64m", "read 64 bytes of each of 1,024 random pages of 64 MiB of single frames";
    258: Pages<256>, "study/pages/256m", "read 64 bytes of each of 1,024 random pages of 256 MiB of single frames";
    259: Copies, "study/copy", "copy 4 KiB between two random pages of 64 MiB of single frames, 64 times";
    260: Walk, "study/objects", "follow 1,024 pointers through 65,536 objects of 256 bytes in random order";
    261: LookUp, "study/lookup", "find 1,024 random keys in a table of 65,536 objects of 256 bytes";
}

/// The steps of a run.
const STEPS: usize = 1024;

/// Xorshift (Marsaglia, 2003): a sequence that costs a few instructions for each number.
struct Random(u64);

impl Random {
    const fn new() -> Self {
        Self(0x9e37_79b9_7f4a_7c15)
    }

    /// Returns a number below `end`, which is below 2^32.
    #[inline(always)]
    fn below(&mut self, end: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (((self.0 >> 32) * end as u64) >> 32) as usize
    }
}

/// Single frames, in the order in which the allocator gave them, as a page cache holds them.
struct Cached {
    frames: Vec<Frame>,
    random: Random,
}

impl Cached {
    fn of_mib(mib: usize) -> Result<Self, Failure> {
        let allocator =
            mm::frames::frames().ok_or_else(|| Failure::because("there is no frame allocator"))?;
        let pages = mib << 8;
        let mut cached = Self { frames: Vec::new(), random: Random::new() };
        cached.frames.try_reserve_exact(pages).map_err(|_| no_memory())?;
        for _ in 0..pages {
            let guard = MACHINE.pin();
            match allocator.alloc(guard.pinned(), Request::FRAME) {
                Ok(frame) => cached.frames.push(frame),
                Err(_) => {
                    drop(guard);
                    cached.give_back();
                    return Err(no_memory());
                }
            }
        }
        Ok(cached)
    }

    fn give_back(self) {
        let Some(allocator) = mm::frames::frames() else { return };
        for frame in self.frames {
            let guard = MACHINE.pin();
            allocator.free(guard.pinned(), frame);
        }
    }

    /// Returns where the direct map shows a random page.
    #[inline(always)]
    fn any(&mut self) -> *mut u64 {
        let index = self.random.below(self.frames.len());
        MACHINE.direct(self.frames[index].addr()).as_mut_ptr()
    }

    /// Returns a random line of a page, as an index of words.
    #[inline(always)]
    fn any_line(&mut self) -> usize {
        self.random.below(64) * 8
    }
}

fn no_memory() -> Failure {
    Failure::because("there is not enough memory")
}

/// Reads of cached pages: the list of pages, then 64 bytes of the page.
struct Pages<const MIB: usize>(Cached);

impl<const MIB: usize> Operation for Pages<MIB> {
    fn prepare(_: &'static Boot) -> Result<Self, Failure> {
        Cached::of_mib(MIB).map(Self)
    }

    #[inline(always)]
    fn run(&mut self) {
        for _ in 0..STEPS {
            let (page, line) = (self.0.any(), self.0.any_line());
            for word in line..line + 8 {
                // SAFETY: a word of a frame that is ours and that the direct map shows.
                black_box(unsafe { page.add(word).read_volatile() });
            }
        }
    }

    fn finish(self) -> Result<(), Failure> {
        self.0.give_back();
        Ok(())
    }
}

/// Copies of whole pages, as a pipe makes them.
struct Copies(Cached);

impl Operation for Copies {
    fn prepare(_: &'static Boot) -> Result<Self, Failure> {
        Cached::of_mib(64).map(Self)
    }

    #[inline(always)]
    fn run(&mut self) {
        for _ in 0..STEPS / 16 {
            let (from, to) = (self.0.any(), self.0.any());
            // SAFETY: two whole frames that are ours, or twice the same one, and that the direct map shows.
            unsafe { core::ptr::copy(from, to, 512) };
        }
    }

    fn finish(self) -> Result<(), Failure> {
        self.0.give_back();
        Ok(())
    }
}

/// An object of 256 bytes.
struct Node {
    next: Cell<*const Node>,
    key: u64,
    _rest: [u64; 30],
}

/// As many objects as [`Walk`] and [`LookUp`] have: 16 MiB.
const OBJECTS: usize = 65_536;

/// Objects, each allocated by itself, in a random order.
struct Objects(Vec<Box<[Node]>>);

impl Objects {
    fn new() -> Result<Self, Failure> {
        let mut objects = Vec::new();
        objects.try_reserve_exact(OBJECTS).map_err(|_| no_memory())?;
        for key in 0..OBJECTS as u64 {
            let mut object = Vec::new();
            object.try_reserve_exact(1).map_err(|_| no_memory())?;
            object.push(Node { next: Cell::new(core::ptr::null()), key, _rest: [0; 30] });
            objects.push(object.into_boxed_slice());
        }
        let mut random = Random::new();
        for index in (1..objects.len()).rev() {
            objects.swap(index, random.below(index + 1));
        }
        Ok(Self(objects))
    }
}

/// A walk along pointers from object to object.
struct Walk {
    objects: Objects,
    at: *const Node,
    sum: u64,
    steps: usize,
}

impl Operation for Walk {
    fn prepare(_: &'static Boot) -> Result<Self, Failure> {
        let objects = Objects::new()?;
        let first = objects.0[0].as_ptr();
        for (index, object) in objects.0.iter().enumerate() {
            object[0].next.set(objects.0.get(index + 1).map_or(first, |next| next.as_ptr()));
        }
        Ok(Self { objects, at: first, sum: 0, steps: 0 })
    }

    #[inline(always)]
    fn run(&mut self) {
        for _ in 0..STEPS {
            // SAFETY: each object's pointer leads to the next one of the list, the last one's to the first; all live
            // until `finish`.
            let node = unsafe { &*self.at };
            self.sum = self.sum.wrapping_add(node.key);
            self.at = node.next.get();
        }
        self.steps += STEPS;
    }

    fn finish(self) -> Result<(), Failure> {
        // The list is a ring over all objects, so that as many steps as there are objects see each key once.
        let place = self.steps % OBJECTS;
        ensure!(core::ptr::eq(self.at, self.objects.0[place].as_ptr()), "the walk lost its way");
        ensure!(self.sum > 0, "the walk saw nothing");
        Ok(())
    }
}

/// Look-ups of random keys: a table of pointers by key, then the object.
struct LookUp {
    by_key: Vec<Box<[Node]>>,
    random: Random,
    wrong: u32,
}

impl Operation for LookUp {
    fn prepare(_: &'static Boot) -> Result<Self, Failure> {
        let mut by_key = Objects::new()?.0;
        for (key, object) in (0..).zip(&mut by_key) {
            object[0].key = key;
        }
        Ok(Self { by_key, random: Random::new(), wrong: 0 })
    }

    #[inline(always)]
    fn run(&mut self) {
        for _ in 0..STEPS {
            let key = self.random.below(OBJECTS);
            self.wrong += u32::from(black_box(&self.by_key[key])[0].key != key as u64);
        }
    }

    fn finish(self) -> Result<(), Failure> {
        ensure!(self.wrong == 0, "{} keys led to other objects", self.wrong);
        Ok(())
    }
}
