//! BPF programs at an event.

use rhumb_bpf::{Context, Field};

use super::Operation;
use crate::bpf;
use crate::cpu::trace::{self, Event};
use crate::facts::Boot;
use crate::lab::failure::Failure;
use crate::lab::selftest::FOR_ANY_EVENT;

regions! {
    184: Told<true, false>, "bpf/nothing", "tell of an event whose program returns 0";
    185: Told<true, true>, "bpf/counts", "tell of an event whose program adds to the value of a key: 16 instructions";
    186: Told<false, false>, "bpf/unheard", "tell of an event that no program is attached to";
}

const NAME: &str = "count";
/// `mov r0, 0; exit`
const NOTHING: [u8; 16] = [0xb7, 0, 0, 0, 0, 0, 0, 0, 0x95, 0, 0, 0, 0, 0, 0, 0];

/// An event, with a program attached or none, that counts or does nothing.
struct Told<const IS_HEARD: bool, const COUNTS: bool>;

impl<const IS_HEARD: bool, const COUNTS: bool> Operation for Told<IS_HEARD, COUNTS> {
    fn prepare(_: &'static Boot) -> Result<Self, Failure> {
        let file = if COUNTS { FOR_ANY_EVENT } else { &NOTHING[..] };
        bpf::load(NAME, file).map_err(Failure::because)?;
        if IS_HEARD && let Err(error) = bpf::attach(NAME, Some(Event::Merge)) {
            let _ = bpf::unload(NAME);
            return Err(Failure::because(error));
        }
        Ok(Self)
    }

    #[inline(always)]
    fn run(&mut self) {
        trace::tell(Event::Merge, || Context::EMPTY.with(Field::Owner, 3).with(Field::Size, 512));
    }

    fn finish(self) -> Result<(), Failure> {
        if IS_HEARD {
            bpf::detach(NAME, None).map_err(Failure::because)?;
        }
        bpf::unload(NAME).map_err(Failure::because)
    }
}
