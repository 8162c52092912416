use tempfile::{TempDir, tempdir};

use super::*;

/// A recorded system of a few files, in a folder that goes with the test.
fn system(files: &[(&str, &str)]) -> (TempDir, Root) {
    let folder = tempdir().unwrap();
    for (path, text) in files {
        let path = folder.path().join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }
    let root = Root::at(folder.path());
    (folder, root)
}

#[test]
fn a_system_without_files_has_no_facts() {
    let (_folder, root) = system(&[]);
    assert_eq!((root.online_cpus(), root.nodes(), root.memory_bytes(), root.load()), (None, 1, None, None));
    assert!(root.mitigations().is_empty() && root.settings().is_empty());
}

#[test]
fn facts_are_read_as_the_kernel_writes_them() {
    let (_folder, root) = system(&[
        ("sys/devices/system/cpu/online", "0-3,8,10-11\n"),
        ("sys/devices/system/node/node0/cpulist", "0-3\n"),
        ("sys/devices/system/node/node12/cpulist", "8\n"),
        ("sys/devices/system/node/possible", "0-12\n"),
        ("proc/meminfo", "MemTotal:       24683656 kB\nMemFree:        20996084 kB\n"),
        ("proc/loadavg", "0.51 1.20 3.00 1/123 4567\n"),
        ("proc/cmdline", "console=ttyS0 mitigations=auto,nosmt quiet root=/dev/x pti=off\n"),
        ("sys/devices/system/cpu/vulnerabilities/meltdown", "Mitigation: PTI\n"),
        ("sys/kernel/mm/transparent_hugepage/enabled", "always [madvise] never\n"),
    ]);
    assert_eq!((root.online_cpus(), root.nodes()), (Some(7), 2));
    assert_eq!((root.memory_bytes(), root.load()), (Some(24_683_656 << 10), Some([0.51, 1.2, 3.0])));
    assert_eq!(root.mitigations()["meltdown"], "Mitigation: PTI");
    let settings = root.settings();
    assert_eq!(settings["kernel command line"], "mitigations=auto,nosmt pti=off");
    assert_eq!(settings["transparent huge pages"], "always [madvise] never");
    assert_eq!(settings.len(), 2);
}

#[test]
fn damaged_files_are_no_facts() {
    let (_folder, root) = system(&[
        ("sys/devices/system/cpu/online", "3-1"),
        ("proc/meminfo", "MemTotal: x kB"),
        ("proc/loadavg", "1 2"),
    ]);
    assert_eq!((root.online_cpus(), root.memory_bytes(), root.load()), (None, None, None));
}
