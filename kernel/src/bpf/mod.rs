//! BPF programs in the kernel: loaded from the initial RAM disk, attached to trace points, read at the prompt.
//!
//! | module | owns |
//! |---|---|
//! | [`attached`] | which programs run at which event; running them; the wait until none runs |
//! | [`loaded`] | an object that is loaded, with counts of runs |
//! | [`objects`] | all of them, by name |
//! | [`names`] | names for the numbers in maps |
//!
//! ```text
//!   trace::tell ──> attached::run ──> Object::run        any CPU, interrupts off
//!   bpf load    ──> objects ──> attach ──> attached      the prompt
//!   bpf detach  ──> attached: slot empty ──> every CPU has answered a call ──> objects may free it
//! ```

mod attached;
mod loaded;
mod names;
mod objects;

pub use attached::{attachments, missed};
pub use loaded::Loaded;
pub use names::KernelNames;
pub use objects::{BpfError, attach, detach, for_each, load, unload, with};

use crate::cpu::trace;

/// Listens to the trace points. Once, at boot.
pub fn start() {
    trace::set_listener(attached::run);
}
