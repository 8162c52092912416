//! The kernel's own list of BPF programs, which root may read.
#![expect(unsafe_code, reason = "the system call has no safe wrapper without a loader of programs")]

#[cfg(test)]
mod tests;

use std::io;
use std::mem::size_of_val;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::time::Instant;

use crate::proc::kernel::Program;

/// Commands of `bpf(2)`, as the kernel's headers number them.
const PROG_GET_NEXT_ID: u32 = 11;
const PROG_GET_FD_BY_ID: u32 = 13;
const OBJ_GET_INFO_BY_FD: u32 = 15;

/// Calls `bpf(2)` with the words of its attribute, and returns them as the kernel left them.
///
/// The commands above write through no pointer but the one that [`info`] passes.
///
/// # Safety
/// A word that the command takes for a pointer must point to as much writable memory as the command is told.
unsafe fn bpf(command: u32, words: &mut [u32; 16]) -> io::Result<i32> {
    // SAFETY: the attribute is 64 bytes of ours, as the call is told; pointers in it are the caller's promise.
    let answer = unsafe { libc::syscall(libc::SYS_bpf, command, words.as_mut_ptr(), size_of_val(words)) };
    if answer < 0 { Err(io::Error::last_os_error()) } else { Ok(answer as i32) }
}

/// Returns the number of the program after `id`; `None` at the end of the list.
fn next(id: u32) -> io::Result<Option<u32>> {
    let mut words = [0; 16];
    words[0] = id;
    // SAFETY: the command takes no pointer.
    match unsafe { bpf(PROG_GET_NEXT_ID, &mut words) } {
        Ok(_) => Ok(Some(words[1])),
        Err(error) if error.raw_os_error() == Some(libc::ENOENT) => Ok(None),
        Err(error) => Err(error),
    }
}

/// Returns a descriptor of the program `id`.
fn open(id: u32) -> io::Result<OwnedFd> {
    let mut words = [0; 16];
    words[0] = id;
    // SAFETY: the command takes no pointer.
    let descriptor = unsafe { bpf(PROG_GET_FD_BY_ID, &mut words) }?;
    // SAFETY: the kernel has just opened this descriptor for this call, so that it has no other owner.
    Ok(unsafe { OwnedFd::from_raw_fd(descriptor) })
}

/// The first 80 bytes of the kernel's `bpf_prog_info`, which have kept their places since 4.15.
type Info = [u32; 20];

/// Describes a program.
fn info(program: &OwnedFd) -> io::Result<Program> {
    let mut info: Info = [0; 20];
    let address = (&raw mut info) as u64;
    let mut words = [0; 16];
    words[0] = program.as_raw_fd() as u32;
    words[1] = size_of_val(&info) as u32;
    words[2] = address as u32;
    words[3] = (address >> 32) as u32;
    // SAFETY: the pointer is to `info`, whose size the call is told. Pointers within `info` are null and their lengths 0.
    unsafe { bpf(OBJ_GET_INFO_BY_FD, &mut words) }?;
    Ok(described(&info))
}

/// Reads the words of a description: kind, number, 8 bytes of tag, bytes of machine code, of instructions, and 9 words on to
/// the 16 bytes of the name.
fn described(info: &Info) -> Program {
    let name: Vec<u8> =
        info[16..20].iter().flat_map(|word| word.to_le_bytes()).take_while(|byte| *byte != 0).collect();
    Program {
        id: info[1],
        kind: Some(info[0]),
        name: Some(String::from_utf8_lossy(&name).into_owned()).filter(|name| !name.is_empty()),
        is_jited: Some(info[4] > 0),
        jited_bytes: Some(u64::from(info[4])),
        memlock_bytes: None,
    }
}

/// Lists all BPF programs until `ends`, and tells whether the list is whole.
///
/// # Errors
/// `EPERM` without the capability to see them; `ENOSYS` where the kernel has no BPF.
pub(super) fn programs(ends: Instant) -> io::Result<(Vec<Program>, bool)> {
    let mut programs = Vec::new();
    let mut id = 0;
    while let Some(following) = next(id)? {
        if Instant::now() >= ends {
            return Ok((programs, false));
        }
        id = following;
        // A program may be unloaded between the two calls.
        if let Ok(program) = open(id).and_then(|program| info(&program)) {
            programs.push(program);
        }
    }
    Ok((programs, true))
}
