//! Dumps of screens.

use super::*;

#[test]
fn a_dump_is_compared_pixel_by_pixel() {
    let pixels = render("rhumb> ", 640, 480, 32).expect("a mode");
    let file = [b"P6\n640 480\n255\n".as_slice(), &pixels].concat();
    let mut picture = Picture::parse(&file).expect("a picture");
    assert_eq!(picture.differs_from("rhumb> ", 32), None);
    assert!(picture.differs_from("rhumb>  ", 32).is_some(), "the cursor is elsewhere");
    picture.pixels[640 * 3 * 479 + 5] ^= 1;
    let difference = picture.differs_from("rhumb> ", 32).expect("one pixel");
    assert!(
        difference.starts_with("pixel 1,479 ") && difference.ends_with("and 0 more differ"),
        "{difference}"
    );
    assert!(Picture::parse(&file[..file.len() - 1]).is_none());
    assert!(Picture::parse(b"P6\n640 x").is_none());
}
