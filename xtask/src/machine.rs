//! A virtual machine as a person asks for it: CPUs, memory, nodes, CPU model, accelerator.

use std::fmt;
use std::str::FromStr;

/// The least memory that makes sense: the kernel image alone ends at 22 MiB or so.
const MIN_MEMORY_BYTES: u64 = 32 << 20;
/// The most memory: 52 bits of physical address, less room for devices.
const MAX_MEMORY_BYTES: u64 = 1 << 51;

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
            None => Err(format!("{text} is more than x86-64 can address here: at most 2048T")),
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

/// What executes the guest.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, clap::ValueEnum)]
pub(crate) enum Accelerator {
    /// QEMU's own translator: works everywhere, has every CPU feature.
    #[default]
    Tcg,
    /// The host's virtualisation: real speed, the host's CPU features.
    Kvm,
}

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
}

/// What happens when the machine resets.
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
    /// QEMU's name of the board.
    pub(crate) board: &'static str,
    pub(crate) serial: Serial,
    pub(crate) on_reset: OnReset,
    /// More of QEMU's words, separated by blanks.
    pub(crate) devices: &'static str,
    pub(crate) cpus: u32,
    pub(crate) memory: MemorySize,
    pub(crate) nodes: u32,
    pub(crate) cpu_model: String,
    pub(crate) accelerator: Accelerator,
    pub(crate) boot: Boot,
}

impl Default for Machine {
    fn default() -> Self {
        Self {
            board: "q35",
            serial: Serial::Com1,
            on_reset: OnReset::End,
            devices: "",
            cpus: 4,
            memory: MemorySize::gib(1),
            nodes: 1,
            cpu_model: "max".into(),
            accelerator: Accelerator::Tcg,
            boot: Boot::Direct,
        }
    }
}
