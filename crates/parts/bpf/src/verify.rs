//! The verifier: a proof that a program reads and writes what it may, and nothing else.
//!
//! It runs the program on *kinds* of values instead of values: numbers with bounds, pointers with what they point to.
//! Jumps go forwards only, so one pass in the order of the instructions meets all paths: the state before an
//! instruction is the [join](State::join) of the states behind all that lead there.
//!
//! ```text
//!   state ──> instruction ──> state ──> next instruction
//!                  └── jump ──> joined with what waits at its target
//! ```
//!
//! | module | owns |
//! |---|---|
//! | [`value`] | [`Value`](value::Value): the kind of one value |
//! | [`range`] | [`Range`](range::Range): bounds and alignment of a number; arithmetic on them |
//! | [`state`] | [`State`]: registers and stack |
//! | [`access`] | loads, stores, arguments of helpers |
//! | [`step`] | what each instruction does to a state |
//!
//! Cost: one step for each instruction, and a join of 11 registers and 64 words of stack for each jump.
//!
//! Why not paths one by one, as Linux does: their number doubles with each branch, and the bounds on that work refuse
//! programs for reasons that are hard to see. A join forgets which path gave which value, so a program that needs to
//! remember branches again.

pub(crate) mod access;
pub(crate) mod range;
pub(crate) mod state;
pub(crate) mod step;
pub(crate) mod value;

use alloc::vec::Vec;

use crate::error::{LoadError, Refusal};
use crate::map::Map;
use crate::operation::Operation;
use state::State;
use step::Flow;

/// Targets of jumps that wait at once, at most: 300 KiB, and half as much more while their list grows.
const MAX_WAITING: usize = 128;

/// The instruction that is refused, and why.
pub(crate) type Refused = (usize, Refusal);

/// Verifies a program that uses `maps`.
///
/// # Errors
/// The outer one: there is no memory to verify in. The inner one: the program is refused.
pub(crate) fn verify(operations: &[Operation], maps: &[Map]) -> Result<Result<(), Refused>, LoadError> {
    verify_and_see(operations, maps, |_, _| ())
}

/// Verifies a program, and shows `see` the state before each instruction that a path leads to.
fn verify_and_see(
    operations: &[Operation],
    maps: &[Map],
    mut see: impl FnMut(usize, &State),
) -> Result<Result<(), Refused>, LoadError> {
    let mut waiting = Waiting(Vec::new());
    let mut here = Some(State::at_start());
    for (at, operation) in operations.iter().enumerate() {
        let arrived = waiting.take(at);
        if *operation == Operation::Second {
            if arrived.is_some() {
                return Ok(Err((at, Refusal::JumpsInside)));
            }
            continue;
        }
        let mut state = match (here.take(), arrived) {
            (Some(state), None) | (None, Some(state)) => state,
            (Some(mut state), Some(arrived)) => {
                state.join(&arrived);
                state
            }
            // No path leads here.
            (None, None) => continue,
        };
        see(at, &state);
        let flow = match state.step(at, operation, maps) {
            Ok(flow) => flow,
            Err(refusal) => return Ok(Err((at, refusal))),
        };
        let (jump, next) = match flow {
            Flow::Next => (None, Some(state)),
            Flow::Jump(ahead) => (Some((ahead, state)), None),
            Flow::Either { ahead, jump, next } => (jump.map(|state| (ahead, state)), next),
            Flow::Exit => (None, None),
        };
        if let Some((ahead, state)) = jump {
            let target = at + 1 + usize::from(ahead);
            if target >= operations.len() {
                return Ok(Err((at, Refusal::JumpsOut)));
            }
            match waiting.add(target, state) {
                Ok(Ok(())) => {}
                Ok(Err(refusal)) => return Ok(Err((at, refusal))),
                Err(error) => return Err(error),
            }
        }
        here = next;
    }
    // The last instruction, which a path goes on behind.
    if here.is_some() { Ok(Err((operations.len().saturating_sub(1), Refusal::RunsOut))) } else { Ok(Ok(())) }
}

/// The states that wait at the targets of jumps, each with its target.
struct Waiting(Vec<(usize, State)>);

impl Waiting {
    /// Adds a state, or joins it with the one that waits there.
    fn add(&mut self, target: usize, state: State) -> Result<Result<(), Refusal>, LoadError> {
        if let Some((_, waiting)) = self.0.iter_mut().find(|waiting| waiting.0 == target) {
            waiting.join(&state);
            return Ok(Ok(()));
        }
        if self.0.len() == MAX_WAITING {
            return Ok(Err(Refusal::TooManyPaths));
        }
        self.0.try_reserve(1).map_err(|_| LoadError::OutOfMemory)?;
        self.0.push((target, state));
        Ok(Ok(()))
    }

    /// Takes the state that waits at an instruction.
    fn take(&mut self, target: usize) -> Option<State> {
        let at = self.0.iter().position(|waiting| waiting.0 == target)?;
        Some(self.0.swap_remove(at).1)
    }
}

/// Returns the state before each instruction of a program that passes; `None` where no path leads to it.
#[cfg(test)]
pub(crate) fn states(operations: &[Operation], maps: &[Map]) -> Vec<Option<State>> {
    let mut states = Vec::new();
    states.resize(operations.len(), None);
    let verified = verify_and_see(operations, maps, |at, state| states[at] = Some(state.clone()));
    assert!(matches!(verified, Ok(Ok(()))), "it was let pass before");
    states
}
