//! All that a search of processes finds.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::proc::kernel::Program;
use crate::proc::mappings::FileId;
use crate::proc::total;

/// A process that holds something.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct Process {
    /// Its number in our name space.
    pub pid: u32,
    /// Its number in its own name space, if that is another.
    pub inner_pid: Option<u32>,
    /// Its effective user.
    pub uid: Option<u32>,
    /// Its command's name.
    pub command: String,
    /// The container that its control group names.
    pub container: Option<String>,
    /// When it began, in seconds since 1970.
    pub began_unix_s: Option<f64>,
}

/// How a process holds one file of secret memory.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Hold {
    /// Descriptors of it.
    pub descriptors: u32,
    /// Mappings of it.
    pub mappings: u32,
    /// Bytes that those map.
    pub mapped_bytes: u64,
    /// Bytes of those that the process has touched; `None` where they cannot be read.
    pub touched_bytes: Option<u64>,
}

/// A process with the files of secret memory that it holds.
#[derive(Clone, PartialEq, Debug)]
pub struct Holder {
    /// The process.
    pub process: Process,
    /// The files.
    pub files: BTreeMap<FileId, Hold>,
}

/// A file of secret memory, whatever the number of its holders.
#[derive(Clone, Copy, PartialEq, Debug, Default)]
pub struct SecretFile {
    /// Its size. Of a file that is only mapped, and cannot be asked, the end of its mappings.
    pub bytes: u64,
    /// Its touched bytes, at least: the most that one process has touched, because two may have touched the same ones.
    pub touched_bytes: Option<u64>,
    /// When it was made, in seconds since 1970.
    pub made_unix_s: Option<i64>,
    /// The processes that hold it.
    pub holders: u32,
}

/// A process with descriptors of guest memory that its kernel keeps from user space.
#[derive(Clone, PartialEq, Debug)]
pub struct GuestMemory {
    /// The process.
    pub process: Process,
    /// The files' numbers with their sizes.
    pub files: BTreeMap<FileId, u64>,
}

/// A BPF program with the processes that have descriptors of it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct HeldProgram {
    /// The program.
    pub program: Program,
    /// The commands of its holders, by process.
    pub holders: BTreeMap<u32, String>,
}

/// The result of a search.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct Scan {
    /// Holders of secret memory, by process.
    pub holders: BTreeMap<u32, Holder>,
    /// Files of secret memory.
    pub files: BTreeMap<FileId, SecretFile>,
    /// Holders of guest memory.
    pub guests: Vec<GuestMemory>,
    /// BPF programs that some process has a descriptor of, by number.
    pub programs: BTreeMap<u32, HeldProgram>,
    /// Processes that were looked at.
    pub processes: u32,
    /// Processes whose descriptors or mappings may not be read.
    pub unreadable: u32,
    /// Processes that the time did not suffice for.
    pub left: u32,
    /// How long the search took.
    pub took: Duration,
}

impl Scan {
    /// Returns the size of all secret memory, each file once.
    pub fn secret_bytes(&self) -> u64 {
        total(self.files.values().map(|file| file.bytes))
    }

    /// Returns the touched bytes of all secret memory, each file once, as far as they are known.
    pub fn touched_bytes(&self) -> u64 {
        total(self.files.values().filter_map(|file| file.touched_bytes))
    }

    /// Counts the holders of each file, in one pass over all of them.
    pub fn count_holders(&mut self) {
        for id in self.holders.values().flat_map(|holder| holder.files.keys()) {
            self.files.entry(*id).or_default().holders += 1;
        }
    }

    /// Tells whether each process was read.
    pub fn is_complete(&self) -> bool {
        self.unreadable == 0 && self.left == 0
    }
}
