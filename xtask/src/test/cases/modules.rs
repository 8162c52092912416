//! The RAM disk, and modules from it.

use crate::machine::MemorySize;
use crate::test::case::{Case, Ends};
use crate::test::expect::text;

pub(crate) fn cases() -> Vec<Case> {
    vec![
        Case::new("ram-disk/files", "ls; ls memtest.ko; maps audit").ram_disk().expect([
            text("memtest.ko"),
            text("fragwatch.ko"),
            text("sound"),
        ]),
        Case::new("ram-disk/no-such-file", "ls moon")
            .ram_disk()
            .ends(Ends::Failing)
            .expect([text("ls: the RAM disk has no file 'moon'")]),
        Case::new("ram-disk/none", "ls")
            .ends(Ends::Failing)
            .expect([text("ls: the boot loader left no RAM disk")]),
        // QEMU puts it at the end of memory, which the direct map does not reach then: boot copies it.
        Case::new("ram-disk/past-the-direct-map", "ls; memmap; maps audit")
            .ram_disk()
            .memory(MemorySize::mib(512))
            .append("directmap_limit=256M")
            .expect([text("memtest.ko"), text("boot loader data"), text("sound")]),
    ]
}
