//! Files whose pages the kernel does not move: of `ramfs`, on a mount that is attached nowhere.
//!
//! The kernel's allocator keeps pages that it can move apart from pages that it cannot, each kind in blocks of its own. Secret
//! pages cannot be moved. The page cache of other file systems, and the memory of processes, can. So pages of `ramfs`, which
//! cannot, are those that lie beside secret pages, and that lie in broken blocks later. So do the kernel's own objects,
//! page tables, and the buffers of pipes and sockets.
//!
//! The mount needs root. It goes with its last file.

use std::fs::File;
use std::io;
use std::os::fd::AsFd;

use rustix::fs::{MemfdFlags, Mode, OFlags, memfd_create, openat};
use rustix::mount::{FsMountFlags, FsOpenFlags, MountAttrFlags, fsconfig_create, fsmount, fsopen};

/// Where the pages of a file in memory lie.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Kind {
    /// In blocks of pages that the kernel does not move, where secret pages lie, too.
    Unmovable,
    /// In other blocks.
    Movable,
}

/// Makes an empty file in memory, whose pages the kernel does not move.
///
/// # Errors
/// The system's: without root, for example.
pub(crate) fn unmovable_file() -> io::Result<File> {
    let system = fsopen("ramfs", FsOpenFlags::FSOPEN_CLOEXEC)?;
    fsconfig_create(system.as_fd())?;
    let mount = fsmount(system.as_fd(), FsMountFlags::FSMOUNT_CLOEXEC, MountAttrFlags::empty())?;
    let flags = OFlags::CREATE | OFlags::RDWR | OFlags::CLOEXEC;
    Ok(File::from(openat(&mount, "data", flags, Mode::RUSR | Mode::WUSR)?))
}

/// Makes an empty file in memory: of the first kind where this process may, else of the second.
///
/// # Errors
/// The system's.
pub(crate) fn any_file() -> io::Result<(File, Kind)> {
    match unmovable_file() {
        Ok(file) => Ok((file, Kind::Unmovable)),
        Err(_) => Ok((File::from(memfd_create("rhumb-study", MemfdFlags::CLOEXEC)?), Kind::Movable)),
    }
}
