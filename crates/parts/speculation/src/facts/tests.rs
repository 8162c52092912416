use std::collections::BTreeMap;
use std::vec::Vec;

use super::*;

/// A CPU with these leaves of CPUID.
struct Recorded {
    leaves: BTreeMap<(u32, u32), [u32; 4]>,
    arch_capabilities: Option<u64>,
}

impl Registers for Recorded {
    fn cpuid(&self, leaf: u32, subleaf: u32) -> [u32; 4] {
        self.leaves.get(&(leaf, subleaf)).copied().unwrap_or([0; 4])
    }

    fn arch_capabilities(&self) -> u64 {
        self.arch_capabilities.expect("a register that CPUID does not name is not read")
    }
}

fn vendor(name: &[u8; 12], highest: u32) -> [u32; 4] {
    let word = |at: usize| u32::from_le_bytes([name[at], name[at + 1], name[at + 2], name[at + 3]]);
    [highest, word(0), word(8), word(4)]
}

fn recorded(leaves: &[((u32, u32), [u32; 4])], arch_capabilities: Option<u64>) -> Facts {
    Facts::read(&Recorded { leaves: leaves.iter().copied().collect(), arch_capabilities })
}

#[test]
fn a_large_intel_cpu() {
    let facts = recorded(
        &[
            ((0, 0), vendor(b"GenuineIntel", 0x20)),
            // Sapphire Rapids: family 6, model 143.
            ((1, 0), [0x0008_06f8, 0x0010_0800, 0, 1 << 28]),
            ((7, 0), [2, 1 << 11, 0, 1 << 10 | 1 << 26 | 1 << 27 | 1 << 28 | 1 << 29]),
            ((7, 2), [0, 0, 0, 1 << 2 | 1 << 4]),
            ((0xb, 0), [1, 2, 0x100, 0]),
            ((0x8000_0000, 0), [0x8000_0008, 0, 0, 0]),
            // Leaves past the highest one count for nothing.
            ((0x8000_0021, 0), [u32::MAX; 4]),
        ],
        Some(capability::RDCL_NO | capability::IBRS_ALL),
    );
    let expected = Facts {
        vendor: Vendor::Intel,
        runs: Runs::Itself,
        family: 6,
        model: 143,
        has_siblings: true,
        rtm: true,
        ibpb: true,
        stibp: true,
        md_clear: true,
        l1d_flush: true,
        rrsba_control: true,
        bhi_control: true,
        arch_capabilities: capability::RDCL_NO | capability::IBRS_ALL,
        ..Facts::default()
    };
    assert_eq!(facts, expected);
    assert!(facts.has(capability::IBRS_ALL) && !facts.has(capability::IBRS_ALL | capability::MDS_NO));
}

#[test]
fn a_small_intel_cpu_without_the_register() {
    let facts = recorded(
        &[
            ((0, 0), vendor(b"GenuineIntel", 7)),
            ((1, 0), [0x0002_0652, 0x0001_0800, 0, 0]),
            ((7, 2), [u32::MAX; 4]),
        ],
        None,
    );
    assert_eq!((facts.family, facts.model, facts.has_siblings), (6, 37, false));
    assert_eq!((facts.arch_capabilities, facts.bhi_control), (0, false), "subleaf 2 is past the last one");
}

#[test]
fn amd_and_hygon() {
    for name in [b"AuthenticAMD", b"HygonGenuine"] {
        let facts = recorded(
            &[
                ((0, 0), vendor(name, 0x10)),
                // Family 1Ah, model 44h: Zen 5.
                ((1, 0), [0x00b4_0f40, 0x0018_0800, 0, 1 << 28]),
                ((0xb, 0), [0, 1, 0x100, 0]),
                ((0x8000_0000, 0), [0x8000_0028, 0, 0, 0]),
                ((0x8000_0008, 0), [0, 1 << 12 | 1 << 15, 0, 0]),
                ((0x8000_0021, 0), [1 << 8 | 1 << 30, 0, 0, 0]),
            ],
            None,
        );
        assert_eq!((facts.vendor, facts.family, facts.model), (Vendor::Amd, 0x1a, 0x44));
        assert!(facts.ibpb && facts.stibp && facts.auto_ibrs && facts.srso_user_kernel_no && !facts.srso_no);
        assert!(!facts.has_siblings, "a core has one thread, whatever a package has");
    }
}

#[test]
fn an_emulator_by_its_name_and_no_other_hypervisor() {
    let leaves = |name: &[u8; 12], is_virtual: bool| -> Vec<((u32, u32), [u32; 4])> {
        let word = |at: usize| u32::from_le_bytes([name[at], name[at + 1], name[at + 2], name[at + 3]]);
        std::vec![
            ((0, 0), vendor(b"AuthenticAMD", 7)),
            ((1, 0), [0x663, 0, u32::from(is_virtual) << 31, 0]),
            ((0x4000_0000, 0), [0x4000_0001, word(0), word(4), word(8)]),
        ]
    };
    let runs = |name, is_virtual| recorded(&leaves(name, is_virtual), None).runs;
    assert_eq!(runs(b"TCGTCGTCGTCG", true), Runs::Emulated);
    assert_eq!(runs(b"TCGTCGTCGTCG", false), Runs::Itself, "hardware has no such leaf");
    assert_eq!(runs(b"KVMKVMKVM\0\0\0", true), Runs::Itself);
}

#[test]
fn in_doubt_there_are_siblings() {
    let one = |b, d| {
        recorded(&[((0, 0), vendor(b"GenuineIntel", 1)), ((1, 0), [0x663, b, 0, d])], None).has_siblings
    };
    assert!(one(0x0002_0000, 1 << 28));
    assert!(!one(0x0002_0000, 0));
    assert!(!one(0x0001_0000, 1 << 28));
}

#[test]
fn a_maker_that_is_not_known() {
    let facts = recorded(&[((0, 0), vendor(b"CentaurHauls", 1)), ((1, 0), [0x6fa, 0, 0, 0])], None);
    assert_eq!(facts.vendor, Vendor::Other);
}
