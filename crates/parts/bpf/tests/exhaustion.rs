//! Without memory a file is not loaded, whichever of its allocations fails, and nothing is left of it.

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::ptr;

use rhumb_bpf::{LoadError, Object, assembler};

thread_local! {
    /// Allocations that this thread may still make; `None` for any number.
    static LEFT: Cell<Option<usize>> = const { Cell::new(None) };
    /// Bytes that this thread has.
    static HELD: Cell<isize> = const { Cell::new(0) };
    /// The most that it had since this was set.
    static MOST: Cell<isize> = const { Cell::new(0) };
}

/// The system's allocator, which a test can have run out of memory.
struct Failing;

#[global_allocator]
static ALLOCATOR: Failing = Failing;

// SAFETY: all memory is the system's allocator's, with the layouts that the caller gives; null is no memory.
#[expect(unsafe_code, reason = "an allocator is an unsafe trait")]
unsafe impl GlobalAlloc for Failing {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        match LEFT.get() {
            Some(0) => return ptr::null_mut(),
            Some(left) => LEFT.set(Some(left - 1)),
            None => {}
        }
        HELD.set(HELD.get() + layout.size() as isize);
        MOST.set(MOST.get().max(HELD.get()));
        // SAFETY: the caller's layout.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, memory: *mut u8, layout: Layout) {
        HELD.set(HELD.get() - layout.size() as isize);
        // SAFETY: the memory is of `alloc`, with this layout.
        unsafe { System.dealloc(memory, layout) }
    }
}

const TEXT: &str = "
    map counts percpu_hash key=owner,reason entries=8
    map bars histogram key=number entries=4
    map words array value=16 entries=3
    program first split
        mov r0, 1
        jeq r0, 0, a
        jeq r0, 1, b
    a:
        mov r0, 2
    b:
        exit
    program second flush
        stdw [r10-8], 1
        lddw r1, @bars
        mov r2, r10
        add r2, -8
        mov r3, 1
        call map_add
        exit";

#[test]
fn i12_whichever_allocation_fails_nothing_is_left() {
    let file = assembler::assemble(TEXT).expect("it is right");
    let mut failures = 0;
    for allocations in 0.. {
        let before = HELD.get();
        LEFT.set(Some(allocations));
        let loaded = Object::from_elf("test", &file, 4);
        LEFT.set(None);
        match loaded {
            Ok(object) => {
                assert_eq!((object.programs().len(), object.maps().len()), (2, 3));
                drop(object);
                assert_eq!(HELD.get(), before, "bytes are left of an object that is gone");
                break;
            }
            Err(LoadError::OutOfMemory) => failures += 1,
            Err(error) => panic!("{error} when {allocations} allocations succeed"),
        }
        assert_eq!(HELD.get(), before, "bytes are left when {allocations} allocations succeed");
    }
    // Three maps, two programs, the lists of both, and the verifier's.
    assert!(failures >= 10, "{failures} allocations can fail");
}

/// The verifier keeps a state for each target of a jump ahead.
#[test]
fn verifying_takes_as_much_memory_as_the_readme_says() {
    const TARGETS: usize = 128;
    let jumps: String = (0..TARGETS).map(|at| format!("jeq r2, {at}, l{at}\n")).collect();
    let labels: String = (0..TARGETS).map(|at| format!("l{at}:\nmov r0, {at}\n")).collect();
    let text = format!("program wide split\nmov r0, 0\nldxdw r2, [r1+size]\n{jumps}exit\n{labels}exit");
    let file = assembler::assemble(&text).expect("it is right");
    let before = HELD.get();
    MOST.set(before);
    let object = Object::from_elf("test", &file, 4).expect("it is right");
    let most = MOST.get() - before;
    assert!((200 << 10..500 << 10).contains(&most), "{} KiB", most >> 10);
    drop(object);
    assert_eq!(HELD.get(), before);
}
