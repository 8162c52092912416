//! Keys, one by one.

use super::*;

#[test]
fn typing_moving_and_deleting() {
    let mut person = Session::new();
    person.sees("rhumb> _");
    person.keys("walk 1000").sees("rhumb> walk 1000_");
    person.keys("\x1b[D\x1b[D").sees("rhumb> walk 10_00");
    person.keys("ab").sees("rhumb> walk 10ab_00");
    person.keys("\x7f").sees("rhumb> walk 10a_00");
    person.keys("\x1b[3~").sees("rhumb> walk 10a_0");
    person.keys("\x04").sees("rhumb> walk 10a_");
    person.keys("\x01").sees("rhumb> _walk 10a");
    person.keys("\x05").sees("rhumb> walk 10a_");
    person.keys("\x1bb").sees("rhumb> walk _10a");
    person.keys("\x1b[1;5D").sees("rhumb> _walk 10a");
    person.keys("\x1bf").sees("rhumb> walk_ 10a");
    person.keys("\x0b").sees("rhumb> walk_");
    person.keys("\x01\x19").sees("rhumb>  10a_walk");
    person.keys("\x15").sees("rhumb> _walk");
    person.keys("\x05\x14").sees("rhumb> wakl_");
    person.keys("\x02\x14").sees("rhumb> walk_");
    person.keys(" a.b c:d").keys("\x17").sees("rhumb> walk a.b _");
    person.keys("c:d\x1b\x7f").sees("rhumb> walk a.b c:_");
    person.keys("\x01\x1bd").sees("rhumb> _ a.b c:");
}

#[test]
fn the_same_keys_from_other_terminals() {
    for (home, end) in
        [("\x1b[H", "\x1b[F"), ("\x1bOH", "\x1bOF"), ("\x1b[1~", "\x1b[4~"), ("\x1b[7~", "\x1b[8~")]
    {
        let mut person = Session::new();
        person.keys("maps").keys(home).sees("rhumb> _maps").keys(end).sees("rhumb> maps_");
    }
    let mut person = Session::new();
    person.keys("maps\x1bOD\x1bOD\x1bOC").sees("rhumb> map_s");
    person.keys("\x1b[1;3D").sees("rhumb> _maps").keys("\x1b[1;5C").sees("rhumb> maps_");
}

#[test]
fn sequences_without_a_meaning_leave_no_text() {
    let mut person = Session::new();
    for keys in ["\x1b[15~", "\x1b[?2004h", "\x1b[[A", "\x1b[1;2;3;4;5;99999999x", "\x1bOP", "\x1bx"] {
        person.keys(keys).sees("rhumb> _");
    }
    person.keys("\x1b[200~maps\x1b[201~").sees("rhumb> maps_");
    person.keys("\x1b[\x03").sees("rhumb> _");
}

#[test]
fn wide_characters_take_two_columns() {
    let mut person = Session::new();
    person.keys("a漢b");
    assert_eq!(person.screen.cursor(), ("rhumb> a漢b".to_string(), 7 + 4));
    person.keys("\x02\x02");
    assert_eq!(person.screen.cursor().1, 7 + 1);
    person.keys("\x04");
    assert_eq!(person.screen.cursor(), ("rhumb> ab".to_string(), 7 + 1));
    // A combining mark has no cell of its own, a broken sequence no character: both are refused.
    let bells = person.screen.bells;
    person.keys("\u{301}").keys(b"\xff\xc3(").sees("rhumb> a(_b");
    assert!(person.screen.bells > bells);
}

#[test]
fn history() {
    let mut person = Session::new();
    person.keys("maps\rmemmap\rmemmap\rwalk 1\r");
    person.keys("unfinished").keys("\x1b[A").sees("rhumb> walk 1_");
    person.keys("\x10").sees("rhumb> memmap_");
    person.keys("\x10").sees("rhumb> maps_");
    let bells = person.screen.bells;
    person.keys("\x10").sees("rhumb> maps_");
    assert_eq!(person.screen.bells, bells + 1);
    person.keys("\x0e\x0e\x1b[B").sees("rhumb> unfinished_");
    person.keys("\x0e").sees("rhumb> unfinished_");
    person.keys("\x10\x10\x08\r");
    assert_eq!(person.house.ran.last().unwrap(), "walk 1");
    person.keys("\x10").sees("rhumb> memma_");
}

#[test]
fn searching_the_history() {
    let mut person = Session::new();
    person.keys("maps audit\rwalk 10\rmaps\rwalk 20\r");
    person.keys("dr\x12").sees("(search '') dr_");
    person.keys("w").sees("(search 'w') _walk 20");
    person.keys("\x12").sees("(search 'w') _walk 10");
    let bells = person.screen.bells;
    person.keys("x").sees("(search 'w') _walk 10");
    assert_eq!(person.screen.bells, bells + 1);
    person.keys("\x07").sees("rhumb> dr_");
    person.keys("\x12").keys("au").sees("(search 'au') maps _audit");
    person.keys("\x7f").sees("(search 'a') w_alk 20");
    person.keys("\x01").sees("rhumb> _walk 20");
    person.keys("\x12ps\r");
    assert_eq!(person.house.ran.last().unwrap(), "maps");
    person.sees("rhumb> _");
}

#[test]
fn the_history_is_bounded_and_keeps_the_newest() {
    let mut history = crate::history::History::new();
    for number in 0..2000 {
        history.push(&std::format!("walk {number:x} größe"));
    }
    let lines: Vec<&str> = history.newest_first().collect();
    assert!(lines.len() > 100, "{}", lines.len());
    for (age, line) in lines.iter().enumerate() {
        assert_eq!(*line, std::format!("walk {:x} größe", 1999 - age));
    }
}

#[test]
fn completion() {
    let mut person = Session::new();
    person.keys("me\t").sees("rhumb> mem_");
    person.keys("\t").sees("rhumb> mem_");
    assert_eq!(person.screen.rows(), ["rhumb> mem", "meminfo  memmap", "rhumb> mem"]);
    person.keys("i\t").sees("rhumb> meminfo _");
    let bells = person.screen.bells;
    person.keys("\t").sees("rhumb> meminfo _");
    assert_eq!(person.screen.bells, bells + 1);
    person.keys("; map\t").sees("rhumb> meminfo ; maps _");
    person.keys("a\t").sees("rhumb> meminfo ; maps audit _");
    person.keys("|g\t").sees("rhumb> meminfo ; maps audit |grep _");
    person.keys("\x15walk k\t").sees("rhumb> walk k_");
    person.keys("e\t").sees("rhumb> walk kernel _");
    person.keys("\x15help wa\t").sees("rhumb> help walk _");
    person.keys("\x01\x1b[C\x1b[C\t").sees("rhumb> help_ walk");
}

#[test]
fn leaving_a_line() {
    let mut person = Session::new();
    person.keys("walk 1000\x02\x02\x03").sees("rhumb> _");
    assert_eq!(person.screen.rows(), ["rhumb> walk 1000^C", "rhumb>"]);
    assert_eq!(person.last, Progress::Waiting);
    person.keys("x\x04").sees("rhumb> x_");
    person.keys("\x7f\x04");
    assert_eq!(person.last, Progress::End(Outcome::default()));
    assert!(person.house.ran.is_empty());
}

#[test]
fn each_line_ending_counts_once() {
    let mut person = Session::new();
    person.keys("maps\rmemmap\nmaps\r\nmemmap\r\n\r\nmaps\n");
    assert_eq!(person.house.ran, ["maps", "memmap", "maps", "memmap", "maps"]);
    assert!(person.screen.text.matches("rhumb> ").count() >= 7);
}

#[test]
fn a_prompt_never_overwrites_output() {
    let mut person = Session::new();
    person.keys("memmap\r").sees("rhumb> _");
    assert_eq!(person.screen.rows(), ["rhumb> memmap", "no newline at the end", "rhumb>"]);
}

#[test]
fn long_lines_scroll_and_ring() {
    let mut person = Session::on(Screen::sized(4, 40), Mode::Interactive);
    person.keys("0123456789012345678901234567890").sees("rhumb> 0123456789012345678901234567890_");
    person.keys("1").sees("rhumb> 01234567890123456789012345678901_");
    person.keys("2").sees("rhumb> <901234567890123456789012_");
    person.keys("\x01").sees("rhumb> _0123456789012345678901234567890>");
    person.keys("\x05").sees("rhumb> <901234567890123456789012_");
    let bells = person.screen.bells;
    person.keys("x".repeat(LINE_BYTES));
    assert_eq!(person.screen.bells, bells + 33);
    assert_eq!(person.screen.rows().len(), 1);
}

#[test]
fn clearing_and_interjecting() {
    let mut person = Session::new();
    person.keys("maps\rwa\x0c").sees("rhumb> wa_");
    assert_eq!(person.screen.rows(), ["rhumb> wa"]);
    person.keys("\x02");
    person.monitor.interject(&mut person.screen, |out| writeln!(out, "[    1.0] a line of the log"));
    person.sees("rhumb> w_a");
    assert_eq!(person.screen.rows(), ["[    1.0] a line of the log", "rhumb> wa"]);
}
