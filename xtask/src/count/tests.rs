//! Which regions a list holds.

use super::chosen;

const LIST: &str = "frames/alloc  a pair\nframes/free   half of it\nframe  another\nmap  a walk\n";

#[test]
fn a_list_holds_what_is_named() {
    let of = |regions: &[&str]| chosen(LIST, &regions.iter().map(ToString::to_string).collect::<Vec<_>>());
    assert_eq!(of(&[]).unwrap(), LIST);
    assert_eq!(of(&["frames"]).unwrap().lines().count(), 2);
    assert_eq!(of(&["map", "frames/free"]).unwrap(), "frames/free   half of it\nmap  a walk\n");
    for wrong in ["fra", "nosuch", "frames/"] {
        assert!(of(&["map", wrong]).unwrap_err().to_string().contains(&format!("called {wrong} (")));
    }
}
