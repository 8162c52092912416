//! apt's sources.

use super::source;

const TARGETS: &str = "\
http://mirror/debian-security bookworm-security main
http://mirror/debian bookworm contrib
http://mirror/debian bookworm main
http://mirror/debian bookworm-updates main
";

#[test]
fn the_backports_come_from_the_archive_of_the_release() {
    let line = source(TARGETS, "bookworm", "bookworm-backports").expect("an archive");
    assert!(line.starts_with("deb ") && line.ends_with(" http://mirror/debian bookworm-backports main"));
    assert!(source(TARGETS, "trixie", "trixie-backports").is_err(), "another release's archive");
    assert!(source("", "bookworm", "bookworm-backports").is_err());
}
