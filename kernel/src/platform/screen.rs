//! The screen: a framebuffer that the loader set up, beside the serial line.
//!
//! Text is taken into ordinary memory at once and drawn in steps of some tens of microseconds, each under the lock, so
//! that interrupts are never off for longer. Drawing may take a fifth of the time: after it has taken so long, it rests four
//! times as long, and what is written meanwhile is drawn with the next text, when a CPU idles or waits at the prompt,
//! when a command asks whether it is interrupted, and in any case before the machine stops. So a long output costs few
//! whole screens however slow video memory is.
//!
//! Until the kernel's own tables are loaded, video memory is reached through the identity mapping, if it lies below 4
//! GiB; then through a write-combining mapping that [`remap`] names.

use core::sync::atomic::{AtomicBool, AtomicUsize, Ordering::Relaxed};

use rhumb_machine::{PhysAddr, PhysRange, VirtAddr};
use rhumb_screen::{Mode, Progress, Screen, VideoMemory};

use crate::cpu::lock::IrqMutex;
use crate::cpu::{area, clock};

/// Bytes of text that are taken under the lock at once: a line feed blanks a row, and erasing the screen, all of it.
const PIECE_BYTES: usize = 32;
/// How much longer drawing rests than it took.
const REST: u64 = 4;

/// More steps than a screen takes that is new and full of text. Other CPUs may write meanwhile, without an end.
const MOST_STEPS: usize = 16_384;

struct Video {
    screen: Screen,
    /// The framebuffer, as long as there is one.
    memory: Option<PhysRange>,
    /// Where it can be reached now.
    mapped: Option<Mapped>,
    /// When drawing ended, by the TSC of the CPU that drew, and how long it rests.
    rests_from: u64,
    rests_for: u64,
}

static VIDEO: IrqMutex<Video> =
    IrqMutex::new(Video { screen: Screen::new(), memory: None, mapped: None, rests_from: 0, rests_for: 0 });

/// There is a screen.
static IS_ON: AtomicBool = AtomicBool::new(false);
/// Text has come that it does not show.
static IS_BEHIND: AtomicBool = AtomicBool::new(false);

/// The number of the CPU that writes video memory, plus one; 0 where none does.
static DRAWER: AtomicUsize = AtomicUsize::new(0);

/// A framebuffer that is mapped.
struct Mapped {
    at: VirtAddr,
    bytes: usize,
}

impl VideoMemory for Mapped {
    fn write(&mut self, offset: usize, bytes: &[u8]) {
        if offset.checked_add(bytes.len()).is_none_or(|end| end > self.bytes) {
            return;
        }
        let mut at = self.at.plus(offset as u64);
        // Eight bytes at a time from the first boundary on: less traffic where writes are not combined.
        let first = (at.get().wrapping_neg() % 8) as usize;
        let (head, rest) = bytes.split_at(first.min(bytes.len()));
        let (words, tail) = rest.as_chunks::<8>();
        let mut write = |byte: u8| {
            // SAFETY: the byte lies inside the framebuffer, as checked above, which is mapped at these addresses and is
            // not RAM, by the promises to `take` and `remap`.
            unsafe { at.as_mut_ptr::<u8>().write_volatile(byte) };
            at = at.plus(1);
        };
        head.iter().copied().for_each(&mut write);
        for &word in words {
            // SAFETY: the eight bytes lie inside the framebuffer, as checked above, are aligned behind the head, and the
            // framebuffer is mapped at these addresses and is not RAM, by the promises to `take` and `remap`.
            unsafe { at.as_mut_ptr::<u64>().write_volatile(u64::from_ne_bytes(word)) };
            at = at.plus(8);
        }
        for &byte in tail {
            // SAFETY: the byte lies inside the framebuffer, as checked above, which is mapped at these addresses and is
            // not RAM, by the promises to `take` and `remap`.
            unsafe { at.as_mut_ptr::<u8>().write_volatile(byte) };
            at = at.plus(1);
        }
    }
}

/// Draws on `mode` from now on; `at` is where it can be reached, if it can.
///
/// # Safety
/// The mode's memory is mapped at `at`, until [`remap`] says otherwise.
pub unsafe fn take(mode: Mode, at: Option<VirtAddr>) {
    let memory = mode.memory();
    let mut video = VIDEO.lock();
    video.screen.set_mode(mode);
    video.memory = Some(memory);
    video.mapped = at.map(|at| Mapped { at, bytes: memory.bytes() as usize });
    IS_ON.store(true, Relaxed);
    IS_BEHIND.store(true, Relaxed);
}

/// Returns the framebuffer's memory, if there is one: boot maps it.
pub fn memory() -> Option<PhysRange> {
    VIDEO.lock().memory
}

/// Says where the kernel's own tables show the framebuffer. Right after they are loaded.
///
/// # Safety
/// `mapped` tells the truth, about all of the framebuffer by its first byte. A framebuffer that it does not know is no
/// screen any more.
pub unsafe fn remap(mapped: impl Fn(PhysAddr) -> Option<VirtAddr>) {
    let mut video = VIDEO.lock();
    let Some(memory) = video.memory else { return };
    video.mapped = mapped(memory.start()).map(|at| Mapped { at, bytes: memory.bytes() as usize });
    IS_ON.store(video.mapped.is_some(), Relaxed);
}

/// Returns how many columns the screen has, if there is one.
pub fn columns() -> Option<usize> {
    IS_ON.load(Relaxed).then(|| VIDEO.lock().screen.grid().columns())
}

/// Takes `text`, and draws it unless drawing rests.
pub fn write(text: &str) {
    if !IS_ON.load(Relaxed) {
        return;
    }
    let mut rest = text;
    while !rest.is_empty() {
        let (piece, later) = rest.split_at(rest.floor_char_boundary(PIECE_BYTES));
        VIDEO.lock().screen.write(piece);
        rest = later;
    }
    IS_BEHIND.store(true, Relaxed);
    draw_if_rested();
}

/// Draws what waits, unless drawing rests. One load where nothing waits.
pub fn draw_if_rested() {
    if IS_BEHIND.load(Relaxed) && VIDEO.lock().has_rested() {
        draw();
    }
}

/// Draws all that waits, or as much as a whole screen is. One load where nothing does.
pub fn draw() {
    if !IS_BEHIND.swap(false, Relaxed) {
        return;
    }
    let begin = clock::ticks();
    if !(0..MOST_STEPS).any(|_| VIDEO.lock().step() == Progress::Done) {
        IS_BEHIND.store(true, Relaxed);
    }
    let mut video = VIDEO.lock();
    video.rests_from = clock::ticks();
    video.rests_for = video.rests_from.wrapping_sub(begin).saturating_mul(REST);
}

/// Uses the screen no more if this CPU was drawing when it faulted: drawing would fault again in the report, which would
/// end on the serial line, too.
pub fn give_up_if_drawing() {
    if DRAWER.load(Relaxed) == this_cpu() {
        IS_ON.store(false, Relaxed);
    }
}

/// Returns this CPU as [`DRAWER`] names it.
fn this_cpu() -> usize {
    area::cpu_now().index() + 1
}

/// Draws at `nowhere`, where each write faults, to see the report.
#[cfg(feature = "lab")]
pub fn draw_at(nowhere: VirtAddr) {
    if let Some(mapped) = &mut VIDEO.lock().mapped {
        mapped.at = nowhere;
    }
    write("x");
    draw();
}

/// Opens the lock of a holder that will never open it.
///
/// # Safety
/// As [`super::console::break_lock`].
pub unsafe fn break_lock() {
    if VIDEO.try_lock().is_none() {
        // SAFETY: the caller promises that the holder does not go on, so that it neither uses the screen nor drops its
        // guard. A change that it had half made leaves the screen in a state that any method bears.
        unsafe { VIDEO.force_unlock() };
    }
    // A CPU that was stopped in the middle of an escape sequence must not swallow the report that comes.
    VIDEO.lock().screen.end_sequence();
    // The holder may have been drawing.
    IS_BEHIND.store(IS_ON.load(Relaxed), Relaxed);
}

impl Video {
    fn step(&mut self) -> Progress {
        match &mut self.mapped {
            Some(mapped) => {
                DRAWER.store(this_cpu(), Relaxed);
                let progress = self.screen.draw(mapped);
                DRAWER.store(0, Relaxed);
                progress
            }
            None => Progress::Done,
        }
    }

    /// Tells whether drawing may begin. The TSC of another CPU may show anything, which ends a rest early.
    fn has_rested(&self) -> bool {
        clock::ticks().wrapping_sub(self.rests_from) >= self.rests_for
    }
}
