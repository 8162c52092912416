use super::*;
use crate::session::Session;

const BYTES: usize = 4 * LARGE_BYTES;

fn watched<T>(work: impl FnOnce(&dyn Watch) -> T) -> T {
    work(&Session::quiet(std::env::temp_dir()).task("a buffer"))
}

#[test]
fn small_pages_are_small() {
    let [mut one, two] = watched(|watch| Buffer::small(BYTES, watch)).expect("8 MiB twice");
    assert_eq!((one.large_bytes(), two.large_bytes()), (Ok(0), Ok(0)));
    assert_eq!(one.len(), BYTES / 8);
    assert!(one.as_ptr().addr().is_multiple_of(LARGE_BYTES));
    one[BYTES / 8 - 1] = 7;
    assert_eq!(one.last(), Some(&7));
}

#[test]
fn large_pages_are_large_until_they_are_broken_or_they_are_missing() {
    match watched(|watch| Buffer::large(BYTES, watch)) {
        Ok([large, mut broken]) => {
            assert!(large.large_bytes().expect("smaps") >= BYTES as u64 - LARGE_BYTES as u64);
            broken[BYTES / 8 - 1] = 7;
            broken.break_pages().expect("advices");
            assert_eq!(broken.large_bytes(), Ok(0));
            assert_eq!(broken.last(), Some(&7));
        }
        Err(Fault::Small { share, megabytes: 8 }) => assert!(share < 95.0),
        Err(Fault::System(_)) => {}
        Err(other) => panic!("{other:?}"),
    }
}

#[test]
fn large_pages_where_small_ones_are_wanted_are_told() {
    if let Ok([large]) = watched(|watch| Buffer::large::<1>(BYTES, watch)) {
        assert_eq!(large.must_be_small(), Err(Fault::Large));
    }
}

#[test]
fn a_buffer_that_the_machine_does_not_have_is_refused() {
    let refused = watched(|watch| Buffer::small::<1>(1 << 50, watch));
    assert!(matches!(refused, Err(Fault::System(_))), "{refused:?}");
}

#[test]
fn the_wish_to_end_ends_the_touching() {
    let session = Session::quiet(std::env::temp_dir());
    session.end();
    let ended = Buffer::small::<1>(LARGE_BYTES, &session.task("a buffer"));
    assert_eq!(ended.err(), Some(Fault::Cancelled));
}
