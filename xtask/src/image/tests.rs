//! GRUB's configuration, and the kernel's words in it.

use super::configuration;

#[test]
fn words_reach_the_kernel_whole() {
    let text = configuration("directmap=4k  a;b $x").expect("fine");
    assert!(text.contains("multiboot2 /boot/rhumb 'directmap=4k' 'a;b' '$x'\n"), "{text}");
    assert!(configuration("").expect("fine").contains("multiboot2 /boot/rhumb\n"));
    assert!(configuration("it's").is_err());
}

#[test]
fn the_screen_says_where_rhumb_talks_and_stays_in_text_mode() {
    let text = configuration("").expect("fine");
    let (_, entry) = text.split_once("menuentry 'Rhumb' {\n").expect("an entry");
    let lines: Vec<_> = entry.lines().map(str::trim).collect();
    assert_eq!(
        lines[0],
        "echo 'Rhumb talks on the first serial port (115200 8N1); nothing more comes here.'"
    );
    assert_eq!(lines[1..], ["set gfxpayload=text", "multiboot2 /boot/rhumb", "}"]);
}
