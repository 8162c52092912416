use std::path::Path;

use super::{File, archive, check};

fn file(name: &str, bytes: &[u8]) -> File {
    File { name: name.into(), bytes: bytes.into() }
}

#[test]
fn the_same_files_give_the_same_bytes_and_can_be_read_again() {
    let files = [file("one.ko", b"first"), file("two.bin", &[7; 1000])];
    let bytes = archive(&files).expect("an archive");
    assert_eq!(bytes, archive(&files).expect("an archive"));
    assert!(bytes.len().is_multiple_of(512), "whole blocks");
    let mut archive = tar::Archive::new(&*bytes);
    let read: Vec<(String, Vec<u8>)> = archive
        .entries()
        .expect("entries")
        .map(|entry| {
            let mut entry = entry.expect("an entry");
            let mut bytes = Vec::new();
            std::io::Read::read_to_end(&mut entry, &mut bytes).expect("bytes");
            (entry.path().expect("a name").display().to_string(), bytes)
        })
        .collect();
    let wanted: Vec<(String, Vec<u8>)> = files.into_iter().map(|file| (file.name, file.bytes)).collect();
    assert_eq!(read, wanted);
}

#[test]
fn a_disk_that_is_not_there_is_refused() {
    let manifest = concat!(env!("CARGO_MANIFEST_DIR"), "/Cargo.toml");
    let is_taken = |file: &str| check(Some(Path::new(file))).is_ok();
    assert!(check(None).is_ok() && is_taken("none") && is_taken(manifest));
    assert!(!is_taken("/nosuch") && !is_taken(env!("CARGO_MANIFEST_DIR")), "a folder is no archive");
}
