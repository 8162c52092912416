//! A virtual machine as a person asks for it: CPUs, memory, nodes, CPU model, accelerator.

use std::fmt;
use std::str::FromStr;

/// The least memory that makes sense: the kernel image alone ends at 22 MiB or so.
const MIN_MEMORY_BYTES: u64 = 32 << 20;
/// The most memory. QEMU keeps some bits for each page of the guest, and gives up without a sentence where it cannot
/// have them: at 64 TiB they are 6 GiB.
const MAX_MEMORY_BYTES: u64 = 32 << 40;
/// The one size that does not boot: the firmware's own heap lies 16 MiB below the end of memory, which is over the
/// first MiB of the kernel's text here. With less it does not reach the text, with more it lies behind the image.
const UNBOOTABLE_BYTES: u64 = 33 << 20;

/// An amount of memory, in whole MiB.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(crate) struct MemorySize(u64);

impl MemorySize {
    pub(crate) const fn mib(mib: u64) -> Self {
        Self(mib << 20)
    }

    pub(crate) const fn gib(gib: u64) -> Self {
        Self(gib << 30)
    }

    pub(crate) const fn bytes(self) -> u64 {
        self.0
    }
}

impl FromStr for MemorySize {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let digits = text.trim_end_matches(|c: char| !c.is_ascii_digit());
        let shift = match text[digits.len()..].to_ascii_uppercase().as_str() {
            "M" | "MB" | "MIB" => 20,
            "G" | "GB" | "GIB" => 30,
            "T" | "TB" | "TIB" => 40,
            "" => return Err("a size needs a unit: 64M, 1G, 180G or 1T".into()),
            unit => return Err(format!("unknown unit `{unit}`: use M, G or T, as in 64M, 1G or 1T")),
        };
        let number: u64 = digits
            .parse()
            .map_err(|_| format!("`{digits}` is no whole number: use 64M, 1G or 1T, for example"))?;
        let bytes = number.checked_mul(1 << shift).filter(|&bytes| bytes <= MAX_MEMORY_BYTES);
        match bytes {
            None => Err(format!("{text} is more than QEMU can be asked for: at most 32T")),
            Some(UNBOOTABLE_BYTES) => {
                Err("33M does not boot: the firmware's heap would lie over the kernel's text; use 32M or 34M"
                    .into())
            }
            Some(bytes) if bytes < MIN_MEMORY_BYTES => Err("Rhumb needs at least 32M to load".into()),
            Some(bytes) => Ok(Self(bytes)),
        }
    }
}

impl fmt::Display for MemorySize {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            bytes if bytes % (1 << 40) == 0 => write!(f, "{}T", bytes >> 40),
            bytes if bytes % (1 << 30) == 0 => write!(f, "{}G", bytes >> 30),
            bytes => write!(f, "{}M", bytes >> 20),
        }
    }
}

/// The executor of the guest.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, clap::ValueEnum)]
pub(crate) enum Accelerator {
    /// QEMU's own translator: works everywhere, has every CPU feature.
    #[default]
    Tcg,
    /// The host's virtualisation: real speed, the host's CPU features.
    Kvm,
}

/// Which of QEMU's machines.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, clap::ValueEnum)]
pub(crate) enum Board {
    /// A PC of 2009: PCI Express, interrupt remapping where there are more than 255 CPUs.
    #[default]
    Q35,
    /// A PC of 1996.
    Pc,
    /// A machine without PCI, and of one node.
    Microvm,
}

impl Board {
    /// Returns QEMU's name for it.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Q35 => "q35",
            Self::Pc => "pc",
            Self::Microvm => "microvm",
        }
    }

    /// Returns the most CPUs that it can have.
    pub(crate) fn max_cpus(self) -> u32 {
        match self {
            // QEMU gives interrupts only 8 bits for the CPU without remapping, and remaps on q35 only.
            Self::Q35 => MAX_CPUS,
            Self::Pc => 255,
            // QEMU's own limit.
            Self::Microvm => 288,
        }
    }
}

/// As many as the kernel starts. QEMU's limit for q35 is 4096 since 9.0.
pub(crate) const MAX_CPUS: u32 = 1024;
/// With more CPUs the last ones have numbers that only x2APIC has room for.
pub(crate) const MAX_XAPIC_CPUS: u32 = 255;

/// How the kernel gets into the machine.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(crate) enum Boot {
    /// QEMU loads the ELF file itself (PVH).
    #[default]
    Direct,
    /// GRUB on the ISO, under SeaBIOS.
    IsoBios,
    /// GRUB on the ISO, under OVMF.
    IsoUefi,
}

/// Where the console is.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(crate) enum Serial {
    /// COM1, on interrupt 4.
    #[default]
    Com1,
    /// COM1, on an interrupt that the kernel does not expect.
    Com1WrongInterrupt,
    /// COM2; there is no COM1.
    Com2,
    /// A card on PCI; there are no legacy ports.
    Pci,
    /// Nowhere: there is no serial port.
    None,
}

/// The effect of a reset of the machine.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(crate) enum OnReset {
    /// QEMU ends: a reset that no person asked for is a crash.
    #[default]
    End,
    /// It starts again.
    Restart,
}

/// A virtual machine.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Machine {
    pub(crate) board: Board,
    pub(crate) serial: Serial,
    pub(crate) on_reset: OnReset,
    /// More of QEMU's words, separated by blanks.
    pub(crate) devices: &'static str,
    pub(crate) cpus: u32,
    pub(crate) memory: MemorySize,
    pub(crate) nodes: u32,
    /// Of the nodes the last ones, so many, have CPUs but no memory.
    pub(crate) memoryless_nodes: u32,
    pub(crate) cpu_model: String,
    pub(crate) accelerator: Accelerator,
    pub(crate) boot: Boot,
}

impl Default for Machine {
    fn default() -> Self {
        Self {
            board: Board::default(),
            serial: Serial::Com1,
            on_reset: OnReset::End,
            devices: "",
            cpus: 4,
            memory: MemorySize::gib(1),
            nodes: 1,
            memoryless_nodes: 0,
            cpu_model: "max".into(),
            accelerator: Accelerator::Tcg,
            boot: Boot::Direct,
        }
    }
}
