//! The image on a machine with a screen and a keyboard: keys go in, and the screen is compared pixel by pixel with the
//! text that must be there.

use crate::machine::{Boot, Machine, Serial};
use crate::test::case::{Case, Ends, ScreenTest, Seen};
use crate::test::expect::{self, no_text, text};

/// A graphics card that every firmware can set to any mode.
const CARD: &str = "-vga std";

pub(crate) fn cases() -> Vec<Case> {
    // Typed with mistakes: the arrows, Home, Delete and Ctrl-K mend them, and Tab completes. The third line scrolls.
    let lines: &[&str] = &[
        "p u s home c end x x left left ctrl-k ret",
        "shift-w a l k spc p h y s shift-semicolon 1 0 0 0 0 0 ctrl-a delete w ret",
        "m a p s ret",
        "x y z ctrl-c",
        "m e m tab tab ctrl-u d m e s g ret",
    ];
    let usual = ScreenTest { graphics: "auto", pixel_bits: 32, lines, answer: None, ends: Seen::Prompt };
    let mut cases: Vec<Case> = [
        ("bios", Boot::IsoBios, usual),
        ("uefi", Boot::IsoUefi, usual),
        ("640x480x32", Boot::IsoBios, ScreenTest { graphics: "640x480x32", ..usual }),
        ("800x600x24", Boot::IsoBios, ScreenTest { graphics: "800x600x24", pixel_bits: 24, ..usual }),
        ("1024x768x16", Boot::IsoBios, ScreenTest { graphics: "1024x768x16", pixel_bits: 16, ..usual }),
        ("1920x1200x32", Boot::IsoBios, ScreenTest { graphics: "1920x1200x32", ..usual }),
    ]
    .into_iter()
    .map(|(name, boot, test)| on_screen(name, boot, test))
    .collect();

    let panic = ScreenTest { lines: &["p a n i c ret"], ends: Seen::Halted, ..usual };
    cases.push(on_screen("panic", Boot::IsoBios, panic).ends(Ends::TurnedOff));
    let fault = ScreenTest { lines: &["f a u l t spc s t a c k ret"], ..panic };
    let fault = on_screen("stack-overflow", Boot::IsoBios, fault).ends(Ends::TurnedOff);
    cases.push(Case { contents: crate::cli::Contents::WithLab, ..fault });

    let mapped = Case::new("screen/write-combining", "maps; maps audit").boot(Boot::IsoBios).devices(CARD);
    cases.push(mapped.expect([expect::lines(1, "rw-k  WC global"), text("sound")]));

    // Drawing would fault in the report again: the serial line must have all of the report.
    let dead = Case::new("screen/drawing-faults", "fault screen").boot(Boot::IsoBios).devices(CARD);
    cases.push(dead.ends(Ends::Panicking).expect([
        text("#GP general protection fault, error code 0x0, at <rhumb_screen::screen::Screen>"),
        text("the machine stops here"),
        no_text("a fault inside the report"),
    ]));

    let answer = "rhumb> frobnicate\nfrobnicate: unknown command; 'help' lists them\nrhumb> ";
    let alone = ScreenTest { lines: &["f r o b n i c a t e ret"], answer: Some(answer), ..usual };
    let mute = on_screen("no-serial-port", Boot::IsoBios, alone);
    cases.push(Case { machine: Machine { serial: Serial::None, ..mute.machine.clone() }, ..mute });
    cases
}

fn on_screen(name: &str, boot: Boot, test: ScreenTest) -> Case {
    Case::new(format!("screen/{name}"), "").product().boot(boot).devices(CARD).within(400).screen(test)
}
