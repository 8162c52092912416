//! The ISO, under the firmware of old and new PCs. Its command line is fixed when it is made, so these append nothing.

use crate::machine::{Boot, MemorySize};
use crate::test::case::Case;
use crate::test::expect::{kib, nearly, text};

const MEMORY: MemorySize = MemorySize::gib(1);

pub(crate) fn cases() -> Vec<Case> {
    let firmware = [("bios", Boot::IsoBios, 24), ("uefi", Boot::IsoUefi, 96)];
    firmware
        .map(|(name, boot, firmware_mib)| {
            Case::new(format!("image/{name}"), "cpus; memmap; meminfo; selftest; maps audit")
                .boot(boot)
                .memory(MEMORY)
                .expect([text("DirectMap2M:"), kib(&["MemTotal"], nearly(MEMORY, 2, firmware_mib))])
        })
        .into()
}
