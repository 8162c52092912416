//! Versions of QEMU.

use super::Version;

#[test]
fn versions_are_read_and_compared() {
    let debian = Version::parse("QEMU emulator version 7.2.22 (Debian 1:7.2+dfsg-7)\nCopyright (c) 2003");
    assert_eq!(debian, Some(Version { major: 7, minor: 2 }));
    let newer = Version::parse("QEMU emulator version 10.0.2\n").expect("a version");
    assert!(newer.is_complete() && newer.lacks().is_none());
    assert!(debian.is_some_and(|version| version < newer && version.lacks().is_some()));
    assert_eq!(Version::parse("no emulator"), None);
}
