//! `memfd_secret(2)`: memory that the kernel takes out of its direct map.
#![expect(unsafe_code, reason = "the system call has no safe wrapper yet")]

use std::fs::File;
use std::io;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};

use memmap2::MmapMut;
use rustix::fs::{MemfdFlags, memfd_create};

use crate::proc::mappings::mount;

/// Opens an anonymous file whose pages leave the kernel's direct map when they are first touched. It is empty at first,
/// and closed on `execve`.
///
/// While the file is open or mapped, the kernel refuses to hibernate.
///
/// # Errors
/// `ENOSYS` where the kernel has no secret memory, or has it switched off; `EPERM` under some seccomp filters.
pub fn memfd_secret() -> io::Result<OwnedFd> {
    // SAFETY: the call takes flags alone and touches no memory of this process.
    let answer = unsafe { libc::syscall(libc::SYS_memfd_secret, libc::O_CLOEXEC) };
    if answer < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the kernel has just opened this descriptor for this call, so that it has no other owner.
    Ok(unsafe { OwnedFd::from_raw_fd(answer as i32) })
}

/// Whether this process can have secret memory.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Availability {
    /// It can. Files of secret memory are on this device.
    Available {
        /// The device's number, as `stat` has it.
        device: u64,
        /// The number of the kernel's own mount of that device, where the kernel tells it.
        mount: Option<u64>,
    },
    /// The kernel has none, or has it switched off.
    Absent,
    /// The system does not let this process have it, though the kernel may have it: its reason.
    Refused(String),
}

impl Availability {
    /// Asks the kernel. For that, a file of secret memory is opened and closed at once.
    pub fn probe() -> Self {
        match memfd_secret() {
            Ok(file) => match rustix::fs::fstat(&file) {
                Ok(stat) => {
                    let info = std::fs::read_to_string(format!("/proc/self/fdinfo/{}", file.as_raw_fd()));
                    Self::Available { device: stat.st_dev, mount: info.ok().and_then(|info| mount(&info)) }
                }
                Err(error) => Self::Refused(error.to_string()),
            },
            Err(error) if error.raw_os_error() == Some(libc::ENOSYS) => Self::Absent,
            Err(error) => Self::Refused(error.to_string()),
        }
    }

    /// Returns the device of the files of secret memory, if it is known.
    pub fn device(&self) -> Option<u64> {
        match self {
            Self::Available { device, .. } => Some(*device),
            Self::Absent | Self::Refused(_) => None,
        }
    }

    /// Returns the kernel's own mount of that device, if it is known.
    pub fn mount(&self) -> Option<u64> {
        match self {
            Self::Available { mount, .. } => *mount,
            Self::Absent | Self::Refused(_) => None,
        }
    }
}

/// An anonymous file of this process and its mapping, page by page: secret memory, or ordinary memory beside it.
#[derive(Debug)]
pub struct FileMemory {
    file: Option<File>,
    map: MmapMut,
}

impl FileMemory {
    /// Makes secret memory of `bytes`, none of which is touched yet. All of it counts as locked memory at once.
    ///
    /// # Errors
    /// Those of [`memfd_secret`]; `EAGAIN` where the limit of locked memory is too low.
    pub fn secret(bytes: usize) -> io::Result<Self> {
        Self::of(File::from(memfd_secret()?), bytes)
    }

    /// Makes ordinary memory of `bytes`, none of which is touched yet.
    ///
    /// # Errors
    /// The system's.
    pub fn ordinary(bytes: usize) -> io::Result<Self> {
        Self::of(File::from(memfd_create("rhumb-study", MemfdFlags::CLOEXEC)?), bytes)
    }

    fn of(file: File, bytes: usize) -> io::Result<Self> {
        file.set_len(bytes as u64)?;
        // SAFETY: the file is anonymous and this value never shrinks it; it lends the file to no other code.
        let map = unsafe { MmapMut::map_mut(&file) }?;
        Ok(Self { file: Some(file), map })
    }

    /// Writes a byte. The first write to a page takes memory; if it is secret, out of the direct map.
    ///
    /// # Panics
    /// If the memory is no longer than `offset`.
    pub fn touch(&mut self, offset: usize) {
        self.map[offset] = 1;
        // The compiler may not put several such writes together.
        std::hint::black_box(&mut self.map[offset]);
    }

    /// Closes the file. The mapping keeps the memory.
    pub fn close_file(&mut self) {
        self.file = None;
    }

    /// Returns the address of the mapping.
    pub fn address(&self) -> usize {
        self.map.as_ptr() as usize
    }

    /// Returns the size in bytes.
    pub fn bytes(&self) -> usize {
        self.map.len()
    }
}
