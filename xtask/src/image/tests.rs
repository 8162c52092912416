//! GRUB's configuration, and the kernel's words in it.

use super::{AUTOMATIC, configuration, new_tree};

#[test]
fn words_reach_the_kernel_whole() {
    let text = configuration("directmap=4k  a;b $x", AUTOMATIC, false).expect("fine");
    assert!(text.contains("multiboot2 /boot/rhumb 'directmap=4k' 'a;b' '$x'\n"), "{text}");
    assert!(configuration("", AUTOMATIC, false).expect("fine").contains("multiboot2 /boot/rhumb\n"));
    assert!(configuration("it's", AUTOMATIC, false).is_err());
}

#[test]
fn the_screen_says_where_rhumb_talks_and_gets_a_mode_of_graphics() {
    let text = configuration("", AUTOMATIC, false).expect("fine");
    assert!(text.contains("insmod efi_gop\n") && text.contains("insmod vbe\n"), "{text}");
    let (_, entry) = text.split_once("menuentry 'Rhumb' {\n").expect("an entry");
    let lines: Vec<_> = entry.lines().map(str::trim).collect();
    assert_eq!(
        lines[0],
        "echo 'Rhumb talks on this screen, if it has graphics, and on the first serial port (115200 8N1).'"
    );
    assert_eq!(lines[1..], ["multiboot2 /boot/rhumb", "set gfxpayload=auto", "}"]);
}

#[test]
fn the_ram_disk_is_a_module() {
    let text = configuration("", AUTOMATIC, true).expect("fine");
    assert!(
        text.contains("multiboot2 /boot/rhumb\n    module2 /boot/rhumb.tar\n    set gfxpayload"),
        "{text}"
    );
}

/// Cases of the suite make images side by side, each with its own screen.
#[test]
fn no_two_images_share_their_files() {
    assert_ne!(new_tree(), new_tree());
}
