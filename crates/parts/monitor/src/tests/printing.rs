//! Figures, tables, dumps, and short texts.

use super::*;

fn printed(print: impl FnOnce(&mut dyn Output)) -> String {
    let mut screen = Screen::new();
    print(&mut screen);
    screen.text
}

#[test]
fn meminfo_has_linux_columns() {
    // Lines of a real /proc/meminfo.
    for line in ["MemTotal:       24662836 kB", "Dirty:               112 kB", "DirectMap1G:    20971520 kB"]
    {
        let (name, rest) = line.split_once(':').unwrap();
        let kilobytes: u64 = rest.trim().trim_end_matches(" kB").parse().unwrap();
        assert_eq!(printed(|out| meminfo_line(out, name, kilobytes * 1024)).trim_end(), line);
    }
}

#[test]
fn human_sizes() {
    for (bytes, text) in [
        (0, "0 B"),
        (1023, "1023 B"),
        (1024, "1 KiB"),
        (1536, "1.5 KiB"),
        (1025, "1.0 KiB"),
        ((1 << 20) - 1, "1.0 MiB"),
        (3 << 29, "1.5 GiB"),
        (1 << 40, "1 TiB"),
        (u64::MAX, "16.0 EiB"),
    ] {
        assert_eq!(Human(bytes).to_string(), text);
    }
    assert_eq!(std::format!("{:>10}|{:<10}|", Human(1536), Human(4096)), "   1.5 KiB|4 KiB     |");
}

#[test]
fn tables() {
    let text = printed(|out| {
        let columns = [Column::left("what", 8), Column::right("size", 9), Column::left("by", 0)];
        let mut table = Table::new(out, &columns);
        table.row(&[&"text", &Human(3 << 20), &"boot"]);
        table.row(&[&"a name too long", &7, &""]);
        table.row(&[&"漢字", &7]);
    });
    assert_eq!(
        text,
        "what           size  by\n\
         text          3 MiB  boot\n\
         a name too long          7\n\
         漢字              7\n"
    );
}

#[test]
fn dumps() {
    let mut bytes = [0u8; 80];
    bytes[..5].copy_from_slice(b"Rhumb");
    bytes[76] = 0xff;
    let text = printed(|out| hexdump(out, 0xffff_8000_0000_1000, &bytes[..78]));
    assert_eq!(
        text,
        "ffff800000001000  52 68 75 6d 62 00 00 00  00 00 00 00 00 00 00 00  |Rhumb...........|\n\
         ffff800000001010  00 00 00 00 00 00 00 00  00 00 00 00 00 00 00 00  |................|\n\
         *\n\
         ffff800000001040  00 00 00 00 00 00 00 00  00 00 00 00 ff 00        |..............|\n\
         ffff80000000104e\n"
    );
}

#[test]
fn texts_are_cut_at_a_character_and_marked() {
    let text: Text<8> = Text::of("größer");
    assert_eq!((text.as_str(), text.is_cut()), ("größer", false));
    let text: Text<8> = Text::of("größere");
    assert_eq!((text.as_str(), text.is_cut()), ("größe~", true).clone());
    let error = CommandError::failed("x".repeat(500));
    assert_eq!(error.to_string().len(), 112);
    assert!(core::mem::size_of::<CommandError>() <= 128);
}

/// A reader that has enough after three lines.
struct Bored(String);

impl Output for Bored {
    fn write_str(&mut self, text: &str) {
        self.0.push_str(text);
    }

    fn interrupted(&self) -> bool {
        self.0.matches('\n').count() >= 3
    }
}

#[test]
fn a_value_of_many_lines_ends_with_the_reader() {
    struct Many(u32);
    impl core::fmt::Display for Many {
        fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
            (0..self.0).try_for_each(|number| writeln!(f, "line {number}"))
        }
    }
    let (mut all, mut some) = (Bored(String::new()), Bored(String::new()));
    assert_eq!(write_lines(&mut all, Many(2)), Ok(()));
    assert_eq!(all.0, "line 0\nline 1\n");
    assert_eq!(write_lines(&mut some, Many(1_000_000)), Err(CommandError::Interrupted));
    assert_eq!(some.0, "line 0\nline 1\nline 2\n");
}

#[test]
fn a_monitor_is_small_enough_for_a_static() {
    let bytes = core::mem::size_of::<Monitor<House>>();
    assert!(bytes <= 7 * 1024, "{bytes}");
}
