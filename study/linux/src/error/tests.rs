//! The texts of errors.

use std::error::Error as _;

use super::*;

#[test]
fn a_reason_is_told_once_and_the_remedy_is_of_its_kind() {
    let of = |kind: io::ErrorKind| Error::unwritable("m.prom", kind.into());
    for (kind, remedy) in [
        (io::ErrorKind::StorageFull, "free space"),
        (io::ErrorKind::NotFound, "make its folder"),
        (io::ErrorKind::PermissionDenied, "this user may write"),
    ] {
        assert!(of(kind).to_string().ends_with(&remedy_of(kind)), "{kind}");
        assert!(of(kind).to_string().contains(remedy), "{kind}");
        // A reason in the chain of sources would be printed a second time.
        assert!(of(kind).source().is_none(), "{kind}");
    }
    assert!(!of(io::ErrorKind::BrokenPipe).to_string().contains("space"));
    let unreadable = Error::Unreadable { path: "/proc".into(), why: io::ErrorKind::NotFound.into() };
    assert!(unreadable.source().is_none());
}

#[test]
fn a_temporary_file_is_not_named() {
    let folder = tempfile::tempdir().expect("a folder");
    let missing = folder.path().join("missing");
    let error =
        Error::unwritable("m.prom", tempfile::NamedTempFile::new_in(&missing).expect_err("no folder"));
    assert!(!error.to_string().contains("missing"), "{error}");
    assert!(error.to_string().contains("make its folder first"), "{error}");
}

fn remedy_of(kind: io::ErrorKind) -> String {
    remedy(&kind.into()).to_owned()
}
