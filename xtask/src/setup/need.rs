//! [`Need`]: something that must be on the machine.

/// Something that must be on the machine.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Need {
    /// A compiler with `core` for x86_64-unknown-none, and a linker.
    Core,
    /// The emulator.
    Qemu,
    /// An emulator that loads plugins.
    Plugins,
    /// GRUB's image tools.
    ImageTools,
    /// UEFI firmware for the emulator.
    Ovmf,
    /// Compilers for C and C++, and make.
    NativeCompilers,
    /// A compiler that instruments the standard library, too, and ThreadSanitizer's runtime.
    ThreadSanitizer,
}

impl Need {
    /// All of them, in the order in which a newcomer meets them.
    pub(crate) const ALL: [Self; 7] = [
        Self::Core,
        Self::Qemu,
        Self::Plugins,
        Self::ImageTools,
        Self::Ovmf,
        Self::NativeCompilers,
        Self::ThreadSanitizer,
    ];

    /// Returns its name, for people.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Core => "core for x86_64-unknown-none",
            Self::Qemu => "QEMU",
            Self::Plugins => "QEMU with TCG plugins",
            Self::ImageTools => "GRUB's image tools",
            Self::Ovmf => "UEFI firmware (OVMF)",
            Self::NativeCompilers => "C and C++ compilers, make",
            Self::ThreadSanitizer => "ThreadSanitizer",
        }
    }

    /// Returns its purpose.
    pub(crate) fn purpose(self) -> &'static str {
        match self {
            Self::Core => "to build the kernel",
            Self::Qemu => "to run the kernel",
            Self::Plugins => "to count instructions",
            Self::ImageTools => "to make a bootable image",
            Self::Ovmf => "to test the image under UEFI",
            Self::NativeCompilers => "to compare with C's allocators",
            Self::ThreadSanitizer => "to find data races",
        }
    }

    /// Returns the Debian packages that bring it.
    pub(super) fn packages(self) -> &'static [&'static str] {
        match self {
            Self::Core => &["rustc-web", "cargo-web", "rust-web-src", "lld-22"],
            Self::Qemu | Self::Plugins => &["qemu-system-x86"],
            Self::ImageTools => &["grub-common", "grub-pc-bin", "grub-efi-amd64-bin", "xorriso", "mtools"],
            Self::Ovmf => &["ovmf"],
            Self::NativeCompilers => &["build-essential"],
            Self::ThreadSanitizer => &["rustc-web", "cargo-web", "rust-web-src", "libclang-rt-22-dev"],
        }
    }
}
