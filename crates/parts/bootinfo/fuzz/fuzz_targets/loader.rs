//! A boot loader's information, from any bytes: PVH's structures or multiboot2's tags.
#![no_main]

use arbitrary::Arbitrary;
use libfuzzer_sys::fuzz_target;
use rhumb_bootinfo::loader::{MAX_OCCUPIED, multiboot2, pvh};
use rhumb_bootinfo::{BootInfo, Findings, LoaderError, LoaderFinding, MemoryMap, Options, PhysMemory};
use rhumb_machine::{PhysAddr, PhysRange};

/// One piece of memory; nothing before and behind it.
struct Piece<'a>(u64, &'a [u8]);

impl PhysMemory for Piece<'_> {
    fn bytes(&self, range: PhysRange) -> Option<&[u8]> {
        let whole = PhysRange::of_length(PhysAddr::new(self.0), self.1.len() as u64)?;
        let offset = whole.covers(range).then(|| range.start().get() - self.0)? as usize;
        self.1.get(offset..offset + range.bytes() as usize)
    }
}

#[derive(Arbitrary, Debug)]
struct Input<'a> {
    /// Where the memory is, in steps of 8 bytes.
    at: u32,
    /// With a right head: random ones are refused at once.
    is_headed: bool,
    is_pvh: bool,
    bytes: &'a [u8],
}

fn check(parsed: Result<(BootInfo, Findings<LoaderFinding>), LoaderError>) {
    let (info, findings) = match parsed {
        Ok(parsed) => parsed,
        Err(error) => {
            assert!(!error.to_string().is_empty());
            return;
        }
    };
    findings.iter().for_each(|finding| assert!(!finding.to_string().is_empty()));
    assert!(!info.memory.is_empty() && info.occupied.len() <= MAX_OCCUPIED);
    assert!(info.occupied.iter().all(|taken| !taken.range.is_empty()));
    assert!(info.initial_ram_disk.is_none_or(|disk| info.occupied.iter().any(|taken| taken.range == disk)));
    let _ = Options::parse(&info.command_line);
    let Ok((mut map, _)) = MemoryMap::from_firmware(info.memory.iter().copied()) else { return };
    if info.reserve_occupied(&mut map).is_ok() {
        let taken = |free: PhysRange| info.occupied.iter().any(|taken| taken.range.overlaps(free));
        assert!(!map.usable().any(taken), "what the loader left would be overwritten");
    }
}

fuzz_target!(|input: Input<'_>| {
    let at = u64::from(input.at) * 8;
    let mut bytes = input.bytes.to_vec();
    if input.is_headed && input.is_pvh && bytes.len() >= 56 {
        bytes[..8].copy_from_slice(&[0x78, 0xc5, 0x6e, 0x33, 1, 0, 0, 0]);
        // The pointers count from the piece's start; their upper halves are zero.
        for field in [16, 24, 40] {
            let offset = u64::from(u16::from_le_bytes([bytes[field], bytes[field + 1]]));
            bytes[field..field + 8].copy_from_slice(&(at + offset).to_le_bytes());
        }
        bytes[50..52].fill(0);
    } else if input.is_headed && bytes.len() >= 16 {
        let length = bytes.len() as u32;
        bytes[..4].copy_from_slice(&length.to_le_bytes());
    }
    let memory = Piece(at, &bytes);
    if input.is_pvh {
        check(pvh::parse(&memory, PhysAddr::new(at)));
    } else {
        check(multiboot2::parse(&memory, PhysAddr::new(at)));
    }
});
