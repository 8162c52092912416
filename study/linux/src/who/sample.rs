//! A survey for tests of the outputs.

use std::collections::BTreeMap;
use std::time::Duration;

use super::blocks::{Power, judge};
use super::reasons::{Settings, reasons};
use super::scan::{GuestMemory, HeldProgram, Hold, Holder, Process, Scan, SecretFile};
use super::survey::{ProgramsSource, Survey};
use crate::proc::counters::{DirectMap, GIB_1, MIB_2, Splits};
use crate::proc::kernel::{Module, Program};
use crate::proc::mappings::FileId;
use crate::secret::Availability;

/// Returns a process.
pub(super) fn process(pid: u32, command: &str) -> Process {
    Process {
        pid,
        uid: Some(1000),
        command: command.to_owned(),
        began_unix_s: Some(900.0),
        ..Process::default()
    }
}

/// Returns a survey of two processes that share one file, of which one holds another file besides. One of them has a
/// hostile name and is in a container.
pub(super) fn survey() -> Survey {
    let (one, two) = (FileId { device: 14, inode: 1 }, FileId { device: 14, inode: 2 });
    let mapped = Hold { descriptors: 1, mappings: 1, mapped_bytes: 32 << 10, touched_bytes: Some(8 << 10) };
    let open = Hold { descriptors: 2, ..Hold::default() };
    let hostile =
        Process { inner_pid: Some(1), container: Some("4f1a".into()), ..process(8, "e\u{1b}[31m\"\\\nx") };
    let mut scan = Scan {
        holders: BTreeMap::from([
            (7, Holder { process: process(7, "vault"), files: BTreeMap::from([(one, mapped), (two, open)]) }),
            (8, Holder { process: hostile, files: BTreeMap::from([(one, open)]) }),
        ]),
        files: BTreeMap::from([
            (
                one,
                SecretFile {
                    bytes: 32 << 10,
                    touched_bytes: Some(8 << 10),
                    made_unix_s: Some(940),
                    holders: 0,
                },
            ),
            (two, SecretFile { bytes: 4 << 20, touched_bytes: None, made_unix_s: Some(950), holders: 0 }),
        ]),
        guests: vec![GuestMemory { process: process(9, "vmm"), files: BTreeMap::from([(two, 1 << 30)]) }],
        programs: BTreeMap::from([(
            3,
            HeldProgram {
                program: Program { id: 3, ..Program::default() },
                holders: BTreeMap::from([(7, "vault".into())]),
            },
        )]),
        processes: 120,
        unreadable: 2,
        left: 0,
        took: Duration::from_millis(40),
    };
    scan.count_holders();
    let power = Power {
        disk: Some("[disabled]\n".into()),
        state: Some("freeze mem\n".into()),
        release: "6.12.3".into(),
        ..Power::default()
    };
    Survey {
        unix_s: 1_000.0,
        uptime_s: Some(7_200.0),
        map: DirectMap {
            small: Some(64 * MIB_2),
            mib_2: Some(3 * GIB_1),
            mib_4: None,
            gib_1: Some(20 * GIB_1),
        },
        splits: Splits {
            level2_splits: Some(40),
            level3_splits: Some(2),
            level2_collapses: Some(1),
            level3_collapses: None,
        },
        memory_bytes: Some(22 * GIB_1),
        tables_bytes: Some(1 << 20),
        secret: Availability::Available { device: 14, mount: Some(15) },
        hibernation: judge(&power, 2, false),
        programs: vec![Program {
            id: 3,
            kind: Some(6),
            name: Some("filter".into()),
            is_jited: Some(true),
            jited_bytes: Some(500),
            memlock_bytes: None,
        }],
        programs_source: ProgramsSource::Kernel,
        areas: None,
        modules: Some(vec![Module { name: "kvm".into(), bytes: 1_376_256 }]),
        reasons: reasons(&Settings { kfence_interval: Some("100\n".into()), ..Settings::default() }),
        picture: Err("it is not there".into()),
        hidepid: None,
        passwd: "ada:x:1000:1000::/:/bin/sh\n".into(),
        scan,
        took: Duration::from_millis(60),
    }
}
