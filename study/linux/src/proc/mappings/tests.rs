//! Recorded address spaces.

use super::*;

const SMAPS_6_18: &str = "\
7f53434b0000-7f53435b0000 rw-s 00001000 00:0e 331240                     /secretmem (deleted)
Size:               1024 kB
KernelPageSize:        4 kB
Rss:                   8 kB
Pss:                   4 kB
Locked:                8 kB
THPeligible:           0
VmFlags: rd wr sh mr mw ms lo dd 
7f53435b0000-7f53435b2000 r--p 00000000 fe:00 326389                     /usr/lib/x86_64-linux-gnu/libffi.so.8.1.2
Size:                  8 kB
Rss:                   4 kB
VmFlags: rd mr mw me 
7ffd0c000000-7ffd0c021000 rw-p 00000000 00:00 0                          [stack]
Rss:                  16 kB
";

#[test]
fn touched_bytes_belong_to_their_mapping() {
    let found = secret_mappings(SMAPS_6_18, None);
    assert_eq!(found.len(), 1);
    let (mapping, touched) = &found[0];
    assert_eq!(mapping.bytes(), 1 << 20);
    assert_eq!(mapping.offset, 0x1000);
    assert_eq!(mapping.file, FileId { device: rustix::fs::makedev(0, 0xe), inode: 331_240 });
    assert_eq!(*touched, Some(8 << 10));
}

#[test]
fn maps_alone_tell_no_touched_bytes() {
    let maps: String =
        SMAPS_6_18.lines().filter(|line| line.contains('-')).map(|line| format!("{line}\n")).collect();
    let found = secret_mappings(&maps, None);
    assert_eq!(found.len(), 1);
    assert_eq!(found[0].1, None);
}

#[test]
fn a_file_of_that_name_elsewhere_is_none() {
    let device = rustix::fs::makedev(0, 0xe);
    assert_eq!(secret_mappings(SMAPS_6_18, Some(device)).len(), 1);
    assert!(secret_mappings(SMAPS_6_18, Some(device + 1)).is_empty());
    for path in ["/secretmem", "/secretmem (deleted)"] {
        assert!(has_secret_name(path), "{path}");
    }
    for path in ["/home/a/secretmem (deleted)", "/secretmemory", "/secretmem.txt (deleted)", "", "socket:[1]"]
    {
        assert!(!has_secret_name(path), "{path}");
    }
}

#[test]
fn hostile_lines_are_no_mappings() {
    for line in [
        "",
        "-",
        "zz-zz rw-s 0 00:0e 1 /secretmem",
        "1-2 rw-s 0 000e 1 /secretmem",
        "1-2 rw-s",
        "ffffffffffffffffff-0 rw-s 0 00:0e 1 /secretmem",
        "1-2 rw-s 0 ffffffffffff:0e 1 /secretmem",
    ] {
        assert_eq!(Mapping::parse(line), None, "{line}");
    }
    let backwards = Mapping::parse("3000-1000 rw-s 0 00:0e 1 /secretmem").expect("a mapping");
    assert_eq!(backwards.bytes(), 0);
    assert_eq!(Mapping::parse("1000-3000 rw-s 0 00:0e 1 ").expect("a mapping").path, "");
}
