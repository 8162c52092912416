//! MTRRs of real machines, and registers that hold nonsense.

extern crate std;

use std::vec::Vec;

use rhumb_machine::{PhysAddr, PhysRange};

use crate::mtrr::{FIXED_REGISTERS, MemoryType, Mtrrs};

const MIB: u64 = 1 << 20;
const GIB: u64 = 1 << 30;
const ON: u64 = 1 << 11;
const UC: u64 = 0;
const WC: u64 = 1;
const WT: u64 = 4;
const WB: u64 = 6;
/// The address bits of a mask.
const HIGH: u64 = ((1 << 39) - 1) & !0xfff;

/// Returns the pair that gives `bytes` at `start` a type, on a CPU of 39 address bits.
fn pair(start: u64, bytes: u64, kind: u64) -> (u64, u64) {
    (start | kind, ((1 << 39) - bytes) | ON)
}

fn mtrrs(default: u64, pairs: &[(u64, u64)]) -> Mtrrs {
    Mtrrs::new(default, [0; FIXED_REGISTERS], pairs.iter().copied())
}

fn odd(mtrrs: &Mtrrs, start: u64, end: u64) -> Vec<(u64, u64, MemoryType)> {
    let mut parts = Vec::new();
    let range = PhysRange::new(PhysAddr::new(start), PhysAddr::new(end)).unwrap();
    mtrrs.not_write_back(range, |part, kind| parts.push((part.start().get(), part.end().get(), kind)));
    parts
}

#[test]
fn memory_that_no_pair_names_has_the_default_type() {
    // A desktop: everything is cached but the hole below 4 GiB.
    let desktop = mtrrs(ON | WB, &[pair(2 * GIB, 2 * GIB, UC), (0, 0)]);
    assert_eq!(odd(&desktop, MIB, 2 * GIB), []);
    assert_eq!(odd(&desktop, 4 * GIB, 16 * GIB), []);
    // The memory map calls a MiB too much RAM.
    let expected = [(2 * GIB, 2 * GIB + MIB, MemoryType::Uncached)];
    assert_eq!(odd(&desktop, MIB, 2 * GIB + MIB), expected);
    // An older one names what is cached, and forgets the last GiB of 9.
    let old = mtrrs(ON | UC, &[pair(0, 8 * GIB, WB), pair(2 * GIB, 2 * GIB, UC)]);
    assert_eq!(odd(&old, 4 * GIB, 9 * GIB), [(8 * GIB, 9 * GIB, MemoryType::Uncached)]);
}

#[test]
fn of_two_types_the_stricter_counts() {
    let cases = [
        (UC, WB, MemoryType::Uncached),
        (WB, UC, MemoryType::Uncached),
        (WT, WB, MemoryType::WriteThrough),
        (WB, WB, MemoryType::WriteBack),
        (WC, WC, MemoryType::WriteCombining),
        (WC, WB, MemoryType::Uncached),
        (3, 3, MemoryType::Uncached),
    ];
    for (one, other, expected) in cases {
        let both = mtrrs(ON | WB, &[pair(GIB, GIB, one), pair(GIB, 512 * MIB, other)]);
        assert_eq!(both.at(PhysAddr::new(GIB + MIB)), expected, "{one} {other}");
    }
}

#[test]
fn neighbours_of_one_type_are_one_part() {
    let many: Vec<_> = (0..8).map(|index| pair(GIB + index * MIB, MIB, WC)).collect();
    let frame_buffer = mtrrs(ON | WB, &many);
    let expected = [(GIB, GIB + 8 * MIB, MemoryType::WriteCombining)];
    assert_eq!(odd(&frame_buffer, MIB, 4 * GIB), expected);
    let mixed = mtrrs(ON | WB, &[pair(GIB, MIB, WC), pair(GIB + MIB, MIB, UC), pair(GIB + 3 * MIB, MIB, WT)]);
    assert_eq!(odd(&mixed, MIB, 4 * GIB).len(), 3);
}

#[test]
fn registers_that_are_off_leave_nothing_cached() {
    let off = mtrrs(WB, &[pair(0, GIB, WB)]);
    assert!(!off.are_on());
    assert_eq!(odd(&off, MIB, GIB), [(MIB, GIB, MemoryType::Uncached)]);
}

/// Every address of a small space, one by one, against the parts.
#[test]
fn nonsense_is_bounded_and_means_what_the_manual_says() {
    let page = 4096;
    let mut state = 0x2545_f491_4f6c_dd1d_u64;
    let mut random = move || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state
    };
    for _ in 0..200 {
        let pairs: Vec<_> = (0..random() % 6)
            .map(|_| {
                // Few bits, so that pairs overlap; gaps in the mask as they come.
                let bits = random() & 0x3f_f000;
                (bits | (random() % 8), ((random() | !0x3f_ffff) & HIGH) | ON)
            })
            .collect();
        let some = mtrrs(ON | WB, &pairs);
        let parts = odd(&some, MIB, 4 * MIB);
        for at in (MIB..4 * MIB).step_by(page) {
            let part = parts.iter().find(|&&(start, end, _)| (start..end).contains(&at));
            let said = part.map_or(MemoryType::WriteBack, |&(_, _, kind)| kind);
            assert_eq!(said, some.at(PhysAddr::new(at)), "{at:#x} {pairs:x?}");
        }
        assert!(parts.windows(2).all(|two| two[0].1 < two[1].0 || two[0].2 != two[1].2));
    }
    // A page at a time over all of memory: it ends, and what was not looked at is not called sound.
    let endless = mtrrs(ON | WB, &[(WB, 0x1000 | ON), (UC, HIGH | ON)]);
    assert_eq!(odd(&endless, MIB, 1 << 39).last().map(|part| part.1), Some(1 << 39));
}

#[test]
fn every_register_is_compared() {
    let pairs = [pair(2 * GIB, 2 * GIB, UC), pair(0, GIB, WB)];
    let boot = mtrrs(ON | WB, &pairs).digest();
    assert_eq!(boot, mtrrs(ON | WB, &pairs).digest());
    assert_ne!(boot, mtrrs(ON | UC, &pairs).digest());
    assert_ne!(boot, mtrrs(ON | WB, &[pairs[1], pairs[0]]).digest());
    assert_ne!(boot, mtrrs(ON | WB, &pairs[..1]).digest());
    for register in 0..FIXED_REGISTERS {
        let mut fixed = [0; FIXED_REGISTERS];
        fixed[register] = 6;
        assert_ne!(boot, Mtrrs::new(ON | WB, fixed, pairs).digest());
    }
}
