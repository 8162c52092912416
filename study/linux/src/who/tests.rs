//! The writing that all outputs share.

use super::*;

/// An output whose writes fail for one reason.
struct Broken(io::ErrorKind);

impl Write for Broken {
    fn write(&mut self, _: &[u8]) -> io::Result<usize> {
        Err(self.0.into())
    }

    fn flush(&mut self) -> io::Result<()> {
        Err(self.0.into())
    }
}

#[test]
fn a_reader_that_goes_is_no_error() {
    assert!(print(&mut Vec::new(), "text").expect("written"));
    assert!(!print(&mut Broken(io::ErrorKind::BrokenPipe), "text").expect("no error"));
    let full = print(&mut Broken(io::ErrorKind::StorageFull), "text").expect_err("an error");
    assert_eq!(full.to_string().matches("no storage space").count(), 1, "told once: {full}");
}
