//! QEMU's words for the plugin.

use std::path::Path;

#[test]
fn commas_in_names_are_doubled() {
    let [_, value] = super::arguments(Path::new("/a,b/c.so"), Path::new("/d"), true);
    assert_eq!(value, "file=/a,,b/c.so,out=/d,memory=on");
}
