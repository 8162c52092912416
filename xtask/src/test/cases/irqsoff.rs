//! The longest stretches with interrupts off, by place, after each kind of stress. How long they are is shown and not
//! judged: on a shared host that is no property of the kernel.

use crate::test::case::Case;
use crate::test::expect::{no_text, text};

pub(crate) fn cases() -> Vec<Case> {
    let stress = |name: &str, commands: &str| {
        Case::new(format!("irqsoff/{name}"), &format!("irqsoff reset; {commands}; irqsoff")).expect([
            text("longest ns"),
            text(".rs:"),
            no_text("more places than there is room for"),
        ])
    };
    vec![
        Case::new("irqsoff/places", "selftest irqsoff").expect([text("1 passed")]),
        stress("frames", "stress frames 2"),
        stress("movable", "stress movable 2"),
        stress("objects", "stress slabs 2"),
        stress("direct-map", "stress directmap 2"),
        stress("pool", "stress pool 2"),
    ]
}
