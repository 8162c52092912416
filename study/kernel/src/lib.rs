//! Rhumb in QEMU.
