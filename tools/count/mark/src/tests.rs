//! The encoding, and that a mark does nothing.

extern crate std;

use super::{BYTES, Mark, OPCODE, RegionId, begin, end, is_meant_by};

fn bytes(displacement: u32) -> [u8; BYTES] {
    let mut bytes = [0; BYTES];
    bytes[..3].copy_from_slice(&OPCODE);
    bytes[3..].copy_from_slice(&displacement.to_le_bytes());
    bytes
}

#[test]
fn every_mark_is_what_it_says() {
    for number in 0..=RegionId::MAX {
        let id = RegionId::new(number).expect("in range");
        for mark in [Mark::Begin(id), Mark::End(id)] {
            assert_eq!(Mark::decode(&bytes(mark.displacement())), Some(mark));
        }
    }
    assert_eq!(RegionId::new(RegionId::MAX + 1), None);
}

#[test]
fn a_region_is_meant_by_its_first_parts() {
    let meant = ["frames/free/1", "frames/free", "frames"];
    assert!(meant.iter().all(|word| is_meant_by("frames/free/1", word)));
    let others = ["frame", "frames/", "frames/fre", "free", "frames/free/1/x"];
    assert!(!others.iter().any(|word| is_meant_by("frames/free/1", word)));
}

#[test]
fn nothing_else_is_a_mark() {
    // Padding as compilers write it, kinds that are kept free, another magic number, other lengths.
    for displacement in [0, 0x524d_8000, 0x524d_c001, 0x524e_4001, 0x0000_4001] {
        assert_eq!(Mark::decode(&bytes(displacement)), None, "{displacement:#x}");
    }
    let mark = bytes(0x524d_4001);
    assert!(Mark::decode(&mark).is_some());
    for cut in 0..BYTES {
        assert_eq!(Mark::decode(&mark[..cut]), None);
    }
    assert_eq!(Mark::decode(&[&mark[..], &[0x90]].concat()), None);
    assert_eq!(Mark::decode(&[0x0f, 0x1f, 0x84, 0x00, 0x01, 0x40, 0x4d, 0x52]), None);
}

/// The displacements that the documentation gives for other languages.
#[test]
fn the_encoding_is_the_documented_one() {
    let seven = RegionId::new(7).expect("in range");
    assert_eq!(Mark::Begin(seven).displacement(), 0x524d_4000 + 7);
    assert_eq!(Mark::End(seven).displacement(), 0x524d_0000 + 7);
}

/// The bytes that the compiler made of two marks hold both, in order, and executing them is harmless.
#[cfg(target_arch = "x86_64")]
#[test]
fn two_marks_are_two_instructions() {
    #[inline(never)]
    extern "C" fn marked() {
        begin::<1>();
        end::<16383>();
    }
    marked();
    // SAFETY: 64 bytes of this program's code, which ends long after this function, may be read.
    let code = unsafe { core::slice::from_raw_parts(marked as *const u8, 64) };
    let found: std::vec::Vec<_> = code.windows(BYTES).filter_map(Mark::decode).take(2).collect();
    let id = |number| RegionId::new(number).expect("in range");
    assert_eq!(found, [Mark::Begin(id(1)), Mark::End(id(16383))]);
}
