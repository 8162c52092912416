//! Threads: what the kernel keeps of each, making them, and their beginnings and ends; a leaf where `unsafe` lives.
//!
//! The body of a thread is a closure. It lies at the top of the thread's stack until the thread begins, so a thread needs
//! two pieces of memory: its stack, and its record, an object of the cache `thread`.

use core::cell::UnsafeCell;
use core::fmt;

use arrayvec::ArrayString;
use rhumb_kernelmap::AreaError;
use rhumb_machine::{CpuSet, MemoryUse, VirtAddr, VirtRange};
use rhumb_sched::{NewError, Policy, SchedError};

use super::list::{self, Entry};
use super::{Thread, ThreadRef, local, scheduler, supply};
use crate::cpu::area;
use crate::cpu::kasan;
use crate::cpu::machine::MACHINE;
use crate::cpu::switch::{self, StackPointer};
use crate::mm::stacks::KernelStack;

/// The most bytes of a thread's name; a longer one is cut.
const NAME_BYTES: usize = 24;

pub type Name = ArrayString<NAME_BYTES>;

/// Where a thread's stack comes from.
pub enum Place {
    /// It is the thread's, and kept for another one when this one has ended.
    Own(KernelStack),
    /// It is a CPU's, permanently, and so is the thread.
    OfCpu(VirtRange),
}

/// The kernel's part of a thread.
pub struct Data {
    pub(super) pointer: StackPointer,
    number: u32,
    name: Name,
    range: VirtRange,
    /// The thread's own stack, until it has ended.
    stack: UnsafeCell<Option<KernelStack>>,
    entry: Entry,
}

// SAFETY: the stack is taken once, by `take_stack`, whose caller has the thread alone.
unsafe impl Sync for Data {}

impl Data {
    /// Returns the number by which `ps` names it.
    pub fn number(&self) -> u32 {
        self.number
    }

    pub fn name(&self) -> Name {
        self.name
    }

    /// Returns the addresses of its stack.
    pub fn stack(&self) -> VirtRange {
        self.range
    }

    pub(super) fn entry(&self) -> &Entry {
        &self.entry
    }

    /// Takes the thread's own stack.
    ///
    /// # Safety
    /// The thread has ended, its CPU has left the stack, and no other code calls this.
    pub(super) unsafe fn take_stack(&self) -> Option<KernelStack> {
        // SAFETY: the caller has the thread alone.
        unsafe { (*self.stack.get()).take() }
    }
}

impl Drop for Data {
    fn drop(&mut self) {
        // Of a thread that did not start. One that has ended has left its stack to the CPU.
        if let Some(stack) = self.stack.get_mut().take() {
            supply::put_back(stack);
        }
    }
}

/// Why there is no new thread. Nothing has changed.
#[derive(Debug)]
pub enum SpawnError {
    /// There is no stack for it.
    Stack(AreaError),
    /// There is no memory for its record.
    Record,
    /// It may run on no CPU that runs.
    NoCpu,
}

impl fmt::Display for SpawnError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Stack(error) => write!(f, "there is no stack for another thread: {error}"),
            Self::Record => f.write_str("there is no memory for another thread"),
            Self::NoCpu => f.write_str("no CPU of the thread's runs"),
        }
    }
}

/// Makes the record of a thread that has no body yet.
///
/// # Errors
/// [`SpawnError`]; the stack is kept for another thread then.
pub fn make(
    name: fmt::Arguments<'_>,
    policy: Policy,
    cpus: &CpuSet,
    place: Place,
) -> Result<ThreadRef, SpawnError> {
    let (stack, range) = match place {
        Place::Own(stack) => {
            let range = stack.range();
            (Some(stack), range)
        }
        Place::OfCpu(range) => (None, range),
    };
    let (entry, number) = Entry::new(&local::expect(area::cpu_now()).threads);
    let data = Data {
        pointer: StackPointer::new(),
        number,
        name: cut(name),
        range,
        stack: UnsafeCell::new(stack),
        entry,
    };
    // The data that come back with an error are dropped, and give the stack back.
    let thread = ThreadRef::new(&MACHINE, policy, cpus, data).map_err(|error| match error {
        NewError::NoMemory(_) => SpawnError::Record,
        NewError::NoCpu(_) => SpawnError::NoCpu,
    })?;
    list::add(&thread);
    Ok(thread)
}

/// Returns a name, cut where it is too long.
fn cut(name: fmt::Arguments<'_>) -> Name {
    struct Cut(Name);
    impl fmt::Write for Cut {
        fn write_str(&mut self, text: &str) -> fmt::Result {
            text.chars().try_for_each(|character| self.0.try_push(character)).map_err(|_| fmt::Error)
        }
    }
    let mut cut = Cut(Name::new());
    // An error says that the name is cut.
    let _ = fmt::write(&mut cut, name);
    cut.0
}

/// Gives a thread its body, which it begins with when it is started.
///
/// # Safety
/// The thread has no body yet, has not started, and no code uses its stack.
pub unsafe fn lay<F: FnOnce() -> u64 + Send + 'static>(thread: &Thread, body: F) -> *mut F {
    const { assert!(size_of::<F>() <= 4096 && align_of::<F>() <= 4096, "the body is to leave room on the stack") };
    let range = thread.data().stack();
    // The stack may have been left by code that did not return: its variables' marks are still there.
    kasan::set_memory_use(range, MemoryUse::Allowed);
    let align = align_of::<F>().max(16) as u64;
    let place = (range.end().get() - size_of::<F>() as u64) & !(align - 1);
    let at = VirtAddr::new(place).as_mut_ptr::<F>();
    // SAFETY: the place is on the thread's stack, aligned, with room for the body, and the stack below is unused.
    unsafe {
        at.write(body);
        thread.data().pointer.begin_at(VirtAddr::new(place & !15), begin::<F>, place);
    }
    at
}

/// Makes a thread that runs `body` on one of `cpus`, and starts it. Others [join](rhumb_sched::Scheduler::join) it for
/// what `body` returns.
///
/// Cost: an object of a cache; a stack that this CPU keeps, or an area of the kernel map.
///
/// # Errors
/// [`SpawnError`]; nothing has changed then, and `body` is dropped.
#[cfg_attr(not(feature = "lab"), expect(dead_code, reason = "only tests make threads so far"))]
pub fn spawn<F: FnOnce() -> u64 + Send + 'static>(
    name: fmt::Arguments<'_>,
    policy: Policy,
    cpus: &CpuSet,
    body: F,
) -> Result<ThreadRef, SpawnError> {
    let stack = supply::take().map_err(SpawnError::Stack)?;
    let thread = make(name, policy, cpus, Place::Own(stack))?;
    // SAFETY: the thread was made now, with a stack of its own.
    let body = unsafe { lay(&thread, body) };
    match scheduler().start(&thread) {
        Ok(()) => Ok(thread),
        Err(SchedError::Started | SchedError::NoCpu) => {
            // SAFETY: the thread has not started, so the body is where it was laid, and is dropped once.
            unsafe { body.drop_in_place() };
            Err(SpawnError::NoCpu)
        }
    }
}

/// Begins a thread, runs its body, and ends it.
extern "sysv64" fn begin<F: FnOnce() -> u64 + Send + 'static>(body: u64) -> ! {
    // SAFETY: the first thing that the thread does, with interrupts off by the guard of the thread that has left.
    unsafe {
        switch::first_steps();
        scheduler().begin();
    }
    let result = {
        // SAFETY: `lay` wrote the body there, and the thread begins once.
        let body = unsafe { VirtAddr::new(body).as_mut_ptr::<F>().read() };
        body()
    };
    // SAFETY: this is the function with which the thread began, and the body has returned and is dropped.
    match unsafe { scheduler().end(result) } {
        Ok(never) => match never {},
        Err(refused) => {
            let name = scheduler().current().map(|thread| thread.data().name()).unwrap_or_default();
            panic!("thread {name} ends with a guard alive: {refused:?}")
        }
    }
}
