//! Areas of a kernel map, on a hosted machine whose CPUs translate by a software MMU that reports each use of a
//! translation that should be gone.
#![expect(unsafe_code, reason = "makes machines of memory")]

mod adopt;
mod bad_input;
mod basics;
mod exhaustion;
mod histories;
mod interrupts;
mod moving;
mod moving_in_use;
mod parallel;
mod planted;
mod policies;
mod protect;
mod world;
