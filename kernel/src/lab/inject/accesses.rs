//! Accesses that the checker must catch, made on purpose: a checker that finds nothing has checked nothing.
//!
//! None of them does harm that outlasts the report: what is read is thrown away, what is written is free or spare.

use core::hint::black_box;

use rhumb_frames::Request;
use rhumb_machine::{Machine, Order};

use crate::cpu::machine::MACHINE;
use crate::mm::frames::frames;

/// A kind of fault: its name, what it does, and the doing.
pub struct Fault {
    pub name: &'static str,
    pub commit: fn(),
}

pub const FAULTS: &[Fault] = &[
    Fault { name: "frame-read", commit: read_free_frame },
    Fault { name: "frame-write", commit: write_free_frame },
    Fault { name: "frame-copy", commit: copy_from_free_frame },
    Fault { name: "global", commit: past_a_global },
    Fault { name: "stack", commit: past_an_array },
    Fault { name: "scope", commit: out_of_scope },
];

/// 13 bytes: the red zone begins in the middle of a granule.
static GLOBAL: [u8; 13] = [7; 13];

#[inline(never)]
fn read(at: *const u8, offset: usize) -> u8 {
    // SAFETY: none; it is the point. The memory is mapped, and nothing depends on what is read.
    unsafe { at.add(offset).read_volatile() }
}

#[inline(never)]
fn write(at: *mut u8, offset: usize) {
    // SAFETY: none; it is the point. The frame is free, and the checker stops the write.
    unsafe { at.add(offset).write_volatile(0) };
}

/// Returns a frame that has just been given back.
fn free_frame() -> Option<*mut u8> {
    let frames = frames()?;
    let guard = MACHINE.pin();
    let frame = frames.alloc(guard.pinned(), Request::new(Order::BASE)).ok()?;
    let at = MACHINE.direct(frame.addr()).as_mut_ptr::<u8>();
    // While it is ours both ways are open: the checker forbids what is free, not what is allocated.
    write(at, 4095);
    black_box(read(at, 8));
    frames.free(guard.pinned(), frame);
    Some(at)
}

fn read_free_frame() {
    if let Some(at) = free_frame() {
        black_box(read(at, 8));
    }
}

fn write_free_frame() {
    if let Some(at) = free_frame() {
        write(at, 4095);
    }
}

fn copy_from_free_frame() {
    let Some(at) = free_frame() else { return };
    let mut bytes = [0_u8; 200];
    // SAFETY: none; it is the point. The memory is mapped.
    unsafe { at.copy_to_nonoverlapping(black_box(bytes.as_mut_ptr()), black_box(200)) };
    black_box(&bytes);
}

fn past_a_global() {
    black_box(read((&raw const GLOBAL).cast(), black_box(13)));
}

#[inline(never)]
fn past_an_array() {
    let array = [1_u8; 29];
    black_box(read(black_box(array.as_ptr()), black_box(29)));
}

#[inline(never)]
fn out_of_scope() {
    let escaped;
    {
        let inner = black_box([3_u8; 16]);
        escaped = black_box(inner.as_ptr());
        black_box(&inner);
    }
    black_box(read(escaped, 0));
}
