//! `peek`: memory as it is, in hexadecimal.

use core::fmt;

use arrayvec::ArrayVec;
use rhumb_machine::VirtAddr;
use rhumb_monitor::{Address, Arguments, Command, CommandError, Complete, Output};

use super::Kernel;
use super::memory::phys_in_direct_map;
use crate::cpu::{probe, user};
use crate::layout;
use crate::mm::tables;

pub const COMMANDS: &[Command<Kernel>] = &[Command {
    name: "peek",
    usage: "ADDRESS [BYTES]",
    summary: "memory as it is, in hexadecimal",
    help: "ADDRESS as for 'walk'; 64 bytes, or so many, 64 KiB at most. A byte that cannot be read is shown as --, and the\n\
           command fails if none can. Registers of devices are left alone, because a read of one may change it.",
    complete: Complete::Nothing,
    run,
}];

/// Bytes that are shown where a person does not say how many.
const FEW: u64 = 64;
/// Bytes at most.
const MOST: u64 = 64 << 10;
/// Bytes on a line.
const LINE: usize = 16;

fn run(_: &mut Kernel, mut arguments: Arguments<'_>, out: &mut dyn Output) -> Result<(), CommandError> {
    let start = match arguments.address("address")? {
        Address::Virtual(virt) => virt,
        Address::Physical(phys) => phys_in_direct_map(phys.get())?,
    };
    let bytes = arguments.optional(|words| words.number_to("bytes", MOST))?.unwrap_or(FEW);
    arguments.end()?;
    let mut read = 0;
    for first in (0..bytes).step_by(LINE) {
        if out.interrupted() {
            return Err(CommandError::Interrupted);
        }
        let Some(at) = start.get().checked_add(first).map(VirtAddr::new) else { break };
        let mut line = ArrayVec::<Option<u8>, LINE>::new();
        for offset in 0..(bytes - first).min(LINE as u64) {
            line.push(at.get().checked_add(offset).and_then(|at| byte_at(VirtAddr::new(at))));
        }
        read += line.iter().flatten().count();
        writeln!(out, "{:#018x}  {}", at.get(), Line(&line));
    }
    match read {
        0 if bytes > 0 => {
            Err(CommandError::failed(format_args!("nothing can be read at {start}: see 'walk {start}'")))
        }
        _ => Ok(()),
    }
}

/// Returns the byte at `at`; `None` where there is none, or a device's register.
fn byte_at(at: VirtAddr) -> Option<u8> {
    if layout::user().contains(at) {
        let mut byte = [0];
        return user::copy_from_user(&mut byte, at).ok().map(|()| byte[0]);
    }
    let is_device = tables::walk(at).leaf().is_some_and(|leaf| !leaf.cache.is_cached());
    if is_device { None } else { probe::read_byte(at).ok() }
}

/// `48 8b --   H..`
struct Line<'a>(&'a [Option<u8>]);

impl fmt::Display for Line<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for index in 0..LINE {
            if index == LINE / 2 {
                f.write_str(" ")?;
            }
            match self.0.get(index) {
                Some(Some(byte)) => write!(f, "{byte:02x} ")?,
                Some(None) => f.write_str("-- ")?,
                None => f.write_str("   ")?,
            }
        }
        f.write_str(" ")?;
        self.0.iter().try_for_each(|byte| match byte {
            Some(byte @ b' '..=b'~') => write!(f, "{}", char::from(*byte)),
            Some(_) => f.write_str("."),
            None => f.write_str(" "),
        })
    }
}
