//! The words of the kernel's description of a program, and its list where this process may read it.

use std::time::Duration;

use super::*;

/// Returns the description of a socket filter with number 42, 77 bytes of machine code, and this name.
fn recorded(name: &[u8]) -> Info {
    // Kind, number, tag (2), machine code, instructions, their addresses (4), time of loading (2), user, maps, their
    // address (2), name (4).
    let mut info = [1, 42, 0xa04f, 0x12b3, 77, 24, 0, 0, 0, 0, 900, 0, 1000, 3, 0, 0, 0, 0, 0, 0];
    for (index, byte) in name.iter().enumerate() {
        info[16 + index / 4] |= u32::from(*byte) << (8 * (index % 4));
    }
    info
}

#[test]
fn a_description_is_read_word_by_word() {
    let program = described(&recorded(b"drop_all"));
    assert_eq!((program.id, program.kind, program.jited_bytes), (42, Some(1), Some(77)));
    assert_eq!((program.name.as_deref(), program.is_jited), (Some("drop_all"), Some(true)));
    assert_eq!(described(&recorded(b"sixteen_bytes_ok")).name.as_deref(), Some("sixteen_bytes_ok"));
    assert_eq!(described(&recorded(b"")).name, None);
    let interpreted =
        Info::from(std::array::from_fn(|word| if word == 4 { 0 } else { recorded(b"x")[word] }));
    assert_eq!(described(&interpreted).is_jited, Some(false));
}

#[test]
fn the_kernels_list_is_whole_or_refused_and_ends_in_time() {
    match programs(Instant::now() + Duration::from_secs(60)) {
        Ok((programs, is_whole)) => {
            assert!(is_whole);
            assert!(programs.windows(2).all(|pair| pair[0].id < pair[1].id), "each once, in order");
            let (none, is_whole) = super::programs(Instant::now()).expect("as before");
            assert!(none.is_empty() && (is_whole == programs.is_empty()), "the time is up at once");
        }
        Err(error) => assert!(
            matches!(error.raw_os_error(), Some(libc::EPERM | libc::ENOSYS | libc::EINVAL)),
            "{error}"
        ),
    }
}
