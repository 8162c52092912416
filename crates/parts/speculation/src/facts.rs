//! Facts about a CPU, by CPUID and IA32_ARCH_CAPABILITIES.

/// How a CPU is asked.
pub trait Registers {
    /// Returns EAX, EBX, ECX and EDX of a leaf of CPUID. Asked for leaves that the CPU has, by its highest one.
    fn cpuid(&self, leaf: u32, subleaf: u32) -> [u32; 4];

    /// Returns IA32_ARCH_CAPABILITIES. Asked only where CPUID has the register.
    fn arch_capabilities(&self) -> u64;
}

/// The maker of a CPU.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Vendor {
    /// Intel.
    Intel,
    /// AMD, and Hygon, whose CPUs are AMD's family 17h.
    Amd,
    /// Some other.
    Other,
}

/// The machinery that runs a CPU.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Runs {
    /// Hardware, or a virtual machine on hardware, which shows its CPU.
    Itself,
    /// An emulator that executes one instruction after the other: QEMU's TCG.
    Emulated,
}

/// Facts about one CPU. `Default` is a CPU of which nothing is known.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Facts {
    /// Its maker.
    pub vendor: Vendor,
    /// Its machinery.
    pub runs: Runs,
    /// Its family, extended family included.
    pub family: u32,
    /// Its model, extended model included.
    pub model: u32,
    /// More than one thread shares a core.
    pub has_siblings: bool,
    /// Restricted transactions (RTM).
    pub rtm: bool,
    /// The command that forgets what branches have trained, IBPB.
    pub ibpb: bool,
    /// The bit that keeps the predictions of a core's threads apart, STIBP.
    pub stibp: bool,
    /// VERW overwrites buffers inside of the CPU (MD_CLEAR).
    pub md_clear: bool,
    /// The command that empties the first-level data cache.
    pub l1d_flush: bool,
    /// IA32_SPEC_CTRL has RRSBA_DIS_S.
    pub rrsba_control: bool,
    /// IA32_SPEC_CTRL has BHI_DIS_S.
    pub bhi_control: bool,
    /// EFER has AutoIBRS.
    pub auto_ibrs: bool,
    /// AMD's CPU is safe from SRSO.
    pub srso_no: bool,
    /// It is so between programs and the kernel.
    pub srso_user_kernel_no: bool,
    /// IA32_ARCH_CAPABILITIES; 0 where there is none.
    pub arch_capabilities: u64,
}

impl Default for Facts {
    fn default() -> Self {
        Self {
            vendor: Vendor::Other,
            runs: Runs::Itself,
            family: 0,
            model: 0,
            has_siblings: true,
            rtm: false,
            ibpb: false,
            stibp: false,
            md_clear: false,
            l1d_flush: false,
            rrsba_control: false,
            bhi_control: false,
            auto_ibrs: false,
            srso_no: false,
            srso_user_kernel_no: false,
            arch_capabilities: 0,
        }
    }
}

/// Bits of IA32_ARCH_CAPABILITIES (Intel SDM volume 4, table 2-2).
pub mod capability {
    /// Safe from Meltdown and L1TF.
    pub const RDCL_NO: u64 = 1 << 0;
    /// IBRS once set protects for good: enhanced IBRS.
    pub const IBRS_ALL: u64 = 1 << 1;
    /// Safe from MDS.
    pub const MDS_NO: u64 = 1 << 5;
    /// Safe from TAA.
    pub const TAA_NO: u64 = 1 << 8;
    /// Safe from one kind of stale MMIO data each.
    pub const SBDR_SSDP_NO: u64 = 1 << 13;
    /// See [`SBDR_SSDP_NO`].
    pub const FBSDP_NO: u64 = 1 << 14;
    /// See [`SBDR_SSDP_NO`].
    pub const PSDP_NO: u64 = 1 << 15;
    /// VERW overwrites fill buffers, too.
    pub const FB_CLEAR: u64 = 1 << 17;
    /// Returns may be predicted as other indirect branches are.
    pub const RRSBA: u64 = 1 << 19;
    /// Safe from BHI.
    pub const BHI_NO: u64 = 1 << 20;
    /// Safe from RFDS.
    pub const RFDS_NO: u64 = 1 << 27;
    /// VERW overwrites register files, too.
    pub const RFDS_CLEAR: u64 = 1 << 28;
}

impl Facts {
    /// Reads the facts of the CPU that `registers` ask.
    pub fn read(registers: &impl Registers) -> Self {
        let leaf = |leaf: u32, subleaf: u32| {
            let [highest, ..] = registers.cpuid(leaf & 0xf000_0000, 0);
            if leaf <= highest { registers.cpuid(leaf, subleaf) } else { [0; 4] }
        };
        let bit = |word: u32, bit: u32| word & 1 << bit != 0;
        let [_, vendor_b, vendor_c, vendor_d] = leaf(0, 0);
        let [signature, one_b, one_c, one_d] = leaf(1, 0);
        let [seven_subleaves, seven_b, _, seven_d] = leaf(7, 0);
        let [_, _, _, control_d] = if seven_subleaves >= 2 { leaf(7, 2) } else { [0; 4] };
        let [_, extended_b, ..] = leaf(0x8000_0008, 0);
        let [more_a, ..] = leaf(0x8000_0021, 0);
        let vendor = match [vendor_b, vendor_d, vendor_c].map(u32::to_le_bytes) {
            [[b'G', b'e', b'n', b'u'], [b'i', b'n', b'e', b'I'], [b'n', b't', b'e', b'l']] => Vendor::Intel,
            [[b'A', b'u', b't', b'h'], [b'e', b'n', b't', b'i'], [b'c', b'A', b'M', b'D']] => Vendor::Amd,
            [[b'H', b'y', b'g', b'o'], [b'n', b'G', b'e', b'n'], [b'u', b'i', b'n', b'e']] => Vendor::Amd,
            _ => Vendor::Other,
        };
        let is_virtual = bit(one_c, 31);
        let (mut family, mut model) = (signature >> 8 & 0xf, signature >> 4 & 0xf);
        if family == 0xf || family == 6 {
            model |= signature >> 12 & 0xf0;
        }
        if family == 0xf {
            family += signature >> 20 & 0xff;
        }
        Self {
            vendor,
            runs: if is_virtual && is_emulator(registers) { Runs::Emulated } else { Runs::Itself },
            family,
            model,
            has_siblings: match leaf(0xb, 0) {
                // Threads of a core.
                [_, threads, kind, _] if threads != 0 && kind >> 8 & 0xff == 1 => threads & 0xffff > 1,
                // The flag says that a package has room for more than one thread, and the number how many: cores
                // included, so in doubt there are siblings.
                _ => bit(one_d, 28) && (one_b >> 16 & 0xff) > 1,
            },
            rtm: bit(seven_b, 11),
            ibpb: bit(seven_d, 26) || bit(extended_b, 12),
            stibp: bit(seven_d, 27) || bit(extended_b, 15),
            md_clear: bit(seven_d, 10),
            l1d_flush: bit(seven_d, 28),
            rrsba_control: bit(control_d, 2),
            bhi_control: bit(control_d, 4),
            auto_ibrs: bit(more_a, 8),
            srso_no: bit(more_a, 29),
            srso_user_kernel_no: bit(more_a, 30),
            arch_capabilities: if bit(seven_d, 29) { registers.arch_capabilities() } else { 0 },
        }
    }

    /// Tells whether a bit of IA32_ARCH_CAPABILITIES is set.
    pub const fn has(&self, capability: u64) -> bool {
        self.arch_capabilities & capability == capability
    }
}

/// Tells whether the hypervisor is QEMU's emulator: "TCGTCGTCGTCG".
fn is_emulator(registers: &impl Registers) -> bool {
    let [_, b, c, d] = registers.cpuid(0x4000_0000, 0);
    [b, c, d].map(u32::to_le_bytes) == [*b"TCGT", *b"CGTC", *b"GTCG"]
}

#[cfg(test)]
mod tests;
