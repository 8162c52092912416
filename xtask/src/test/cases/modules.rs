//! The RAM disk, and modules from it.

use crate::machine::MemorySize;
use crate::test::case::{Case, Ends};
use crate::test::expect::{lines, no_text, text};

pub(crate) fn cases() -> Vec<Case> {
    vec![
        // The disk has a folder, which is no file, and which each search passes.
        Case::new("ram-disk/files", "ls; ls memtest.ko; ls folder/note; dmesg; maps audit").ram_disk().expect([
            text("memtest.ko"),
            text("fragwatch.ko"),
            lines(2, "      16 folder/note"),
            no_text("skipping"),
            text("sound"),
        ]),
        Case::new("ram-disk/no-such-file", "ls moon")
            .ram_disk()
            .ends(Ends::Failing)
            .expect([text("ls: the RAM disk has no file 'moon'")]),
        Case::new("ram-disk/none", "ls; insmod memtest; bpf load splits")
            .ends(Ends::Failing)
            .expect(["ls: ", "insmod: memtest: ", "bpf: "].map(|at| text(format!("{at}the boot loader left no RAM disk")))),
        Case::new("ram-disk/no-archive", "ls; insmod memtest; bpf load splits; maps audit")
            .devices("-initrd README.md")
            .ends(Ends::Failing)
            .expect([
                text("ls: the RAM disk cannot be read: as a tar archive, header at block 0 has an invalid checksum"),
                text("insmod: memtest: the RAM disk cannot be read"),
                text("bpf: the RAM disk cannot be read"),
                text("sound"),
            ]),
        Case::new("modules/load-use-unload", "insmod memtest; modules; memtest 4M; help memtest; maps audit; rmmod memtest; code; maps audit")
            .ram_disk()
            .expect([
                text("memtest             "),
                text("4096 KiB tested in 1 pass of 6 patterns"),
                text("memtest [SIZE] [PASSES] [pretend]: test free memory"),
                lines(2, "sound"),
                text("0 of at most 256 blocks"),
            ]),
        Case::new("modules/memtest-finds", "insmod memtest; memtest 1M 1 pretend")
            .ram_disk()
            .ends(Ends::Failing)
            .expect([
                text("0x0000000000000000 was written, 0x0000000000000020 is read"),
                text("are bad and out of use, 16 frames in all"),
                text("memtest: the memory is bad: 1 block is out of use from now on"),
            ]),
        Case::new("modules/memtest-of-too-much", "insmod memtest; memtest 99T; memtest 99999999T; memtest 5")
            .ram_disk()
            .ends(Ends::Failing)
            .expect([
                text("memtest: SIZE: 99 TiB is more memory than the machine has, which is 10"),
                text("memtest: SIZE: '99999999T' is not a size"),
                text("memtest: there is nothing to test"),
                no_text("tested in"),
            ]),
        Case::new("modules/fragwatch", "insmod fragwatch; fragwatch sample; fragwatch sample; fragwatch 1; rmmod fragwatch")
            .ram_disk()
            .nodes(2)
            .expect([text("4096 KiB |"), text("node 1: ")]),
        Case::new("modules/in-use", "insmod probe; probe hold; rmmod probe; probe data; probe release; rmmod probe; modules")
            .ram_disk()
            .ends(Ends::Failing)
            .expect([
                text("rmmod: probe: it is in use, by 1 user"),
                text("answer 42, holds 1"),
                no_text("probe  "),
            ]),
        Case::new("modules/refused", "insmod undefined; insmod version; insmod truncated; insmod text; insmod moon; rmmod moon; maps audit")
            .ram_disk()
            .ends(Ends::Failing)
            .expect([
                text("insmod: undefined: symbol rhumb_moon is not exported by this kernel"),
                text("insmod: version: symbol rhumb_hold has version "),
                text("insmod: truncated: the file is truncated: it ends before the end of the section headers"),
                text("insmod: text: the file is not an ELF file"),
                text("insmod: moon: the RAM disk has no such module: 'ls' lists its files"),
                text("rmmod: moon: no module of this name is loaded"),
                text("sound"),
            ]),
        Case::new("modules/panic", "insmod probe; probe panic")
            .ram_disk()
            .ends(Ends::Panicking)
            .expect([
                text("kernel panic on CPU 0: module probe: the probe was told to panic"),
                text(" [probe]"),
            ]),
        Case::new("modules/selftest", "selftest modules::; maps audit")
            .ram_disk()
            .memory(MemorySize::mib(512))
            .expect([text("7 passed, 0 failed"), no_text("skipped"), text("sound")]),
        // QEMU puts it at the end of memory, which the direct map does not reach then: boot copies it.
        Case::new("ram-disk/past-the-direct-map", "ls; memmap; maps audit")
            .ram_disk()
            .memory(MemorySize::mib(512))
            .append("directmap_limit=256M")
            .expect([text("memtest.ko"), text("boot loader data"), text("sound")]),
    ]
}
