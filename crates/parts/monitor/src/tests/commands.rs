//! Lines of commands: those that run, and the complaints about those that do not.

use super::*;

/// Runs a line; returns its output, how it ended, and the commands that ran.
fn run(line: &str) -> (String, Outcome, Vec<String>) {
    let (mut screen, mut house) = (Screen::new(), House::default());
    let outcome = commands().run_line(line, &mut house, &mut screen);
    (screen.text, outcome, house.ran)
}

#[track_caller]
fn says(line: &str, text: &str, failures: u32) {
    let (said, outcome, _) = run(line);
    assert_eq!(said, text);
    assert_eq!(outcome.failures, failures);
}

#[test]
fn several_commands_in_a_line() {
    let (_, outcome, ran) = run(" maps;; memmap ; # maps audit; maps");
    assert_eq!(ran, ["maps", "memmap"]);
    assert_eq!(outcome, Outcome { commands: 2, failures: 0, interrupted: false });
    let (said, outcome, ran) = run("maps audit; maps short");
    assert_eq!(said, "maps: 2 frames are writable and executable\n");
    assert_eq!((ran.len(), outcome.commands, outcome.failures), (2, 2, 1));
}

#[test]
fn an_alias_is_typed_for_the_words_that_it_means() {
    assert_eq!(run("memmap lines 2").0, "line 0\nline 1\n");
    // The first that fits counts, and an alias before the command of its first word.
    says("maps broken audit", "maps: 2 frames are writable and executable\n", 1);
    says("maps  broken\taudit x", "maps: 'x' is one argument too many (usage: maps [audit|short])\n", 1);
    says("maps broken all", "maps: MODE: 'all' is not one of audit, short (usage: maps [audit|short])\n", 1);
    assert_eq!(run("maps broken short; maps broken").1.failures, 0);
    says("maps lines", "maps: MODE: 'lines' is not one of audit, short (usage: maps [audit|short])\n", 1);
    assert_eq!(run("memmap lines 3 | count").0, "3\n");
    // The rest of a line has the alias's words, too.
    assert_eq!(run("maps broken audit").2, ["maps audit"]);
    assert_eq!(run("maps broken audit x  y ").2, ["maps audit x  y"]);
    assert_eq!(run("maps broken x").2, ["maps x"]);
}

#[test]
fn a_word_that_is_looked_at_is_still_there() {
    let mut arguments = Arguments::after("one", " two");
    assert_eq!((arguments.peek(), arguments.next()), (Some("one"), Some("one")));
    assert_eq!((arguments.peek(), arguments.next()), (Some("two"), Some("two")));
    assert_eq!((arguments.peek(), arguments.is_empty()), (None, true));
}

#[test]
fn commands_that_are_set_replace_those_set_before() {
    let mut commands = Commands::new(&[MEMORY]);
    commands.set_more(&WALKING[..1]);
    commands.set_more(&WALKING[1..]);
    let names: Vec<&str> = commands.iter().map(|command| command.name).collect();
    assert_eq!(names, ["meminfo", "maps", "memmap", "count-up"]);
}

#[test]
fn complaints_have_one_form() {
    says("memifno", "memifno: unknown command; did you mean 'meminfo'?\n", 1);
    says("map", "map: unknown command; did you mean 'maps'?\n", 1);
    says("count", "count: unknown command; did you mean 'count-up'?\n", 1);
    says("xyzzy", "xyzzy: unknown command; 'help' lists them\n", 1);
    says("\"\"", "\"\": unknown command; 'help' lists them\n", 1);
    says("maps | \"\"", "\"\": FILTER: '' is not one of count, grep, head\n", 1);
    says("walk", "walk: ADDR is missing (usage: walk ADDR)\n", 1);
    says("walk q", "walk: ADDR: 'q' is not a hexadecimal address (usage: walk ADDR)\n", 1);
    says(
        "walk phys:1",
        "walk: ADDR: 'phys:1' is a physical address, a virtual one is needed (usage: walk ADDR)\n",
        1,
    );
    says("walk 1 2", "walk: '2' is one argument too many (usage: walk ADDR)\n", 1);
    says("meminfo x", "meminfo: 'x' is one argument too many\n", 1);
    says("maps all", "maps: MODE: 'all' is not one of audit, short (usage: maps [audit|short])\n", 1);
    says("walk \"1", "line: a quote (\") is not closed\n", 1);
    says("| head", "line: no command before '|'\n", 1);
    says("maps | tail", "tail: FILTER: 'tail' is not one of count, grep, head\n", 1);
    says("maps | grep", "grep: WORD is missing\n", 1);
    says("maps | count | count | count | count | count", "line: more than 4 filters\n", 1);
    says("help memifno", "help: 'memifno' is no command; did you mean 'meminfo'?\n", 1);
}

#[test]
fn help() {
    let table = "  count-up N          prints the numbers below N\n\
                 \x20 help [COMMAND]      this table, or all about one command\n\
                 \x20 maps [audit|short]  every kernel range\n\
                 \x20 meminfo             memory, as /proc/meminfo shows it\n\
                 \x20 memmap              the firmware's map\n\
                 \x20 walk ADDR           the page walk, level by level\n\
                 Separate commands by ';'. Filter what they print: | grep [-v] [-i] WORD, | head [N], | count.\n";
    says("help", table, 0);
    says("help meminfo", "meminfo: memory, as /proc/meminfo shows it\nkB are units of 1024 bytes.\n", 0);
    says("help walk", "walk ADDR: the page walk, level by level\n", 0);
}

#[test]
fn a_usage_that_is_too_wide_is_left_out_of_the_table() {
    const WIDE: &[Command<House>] = &[Command {
        name: "wide",
        usage: "one|two|three|four|five|six|seven|eight|nine|ten|eleven|twelve|thirteen|fourteen",
        summary: "many words",
        help: "",
        complete: Complete::Nothing,
        run: |_, _, _| Ok(()),
    }];
    let (mut screen, mut house) = (Screen::new(), House::default());
    let mut commands = Commands::new(&[MEMORY, WIDE]);
    assert_eq!(commands.run_line("help; help wide", &mut house, &mut screen).failures, 0);
    assert!(screen.text.contains("\n  wide ...            many words\n"), "{}", screen.text);
    assert!(
        screen.text.contains("\nWhere '...' is, 'help COMMAND' shows the arguments.\n"),
        "{}",
        screen.text
    );
    assert!(screen.text.contains("\nwide one|two|three|four|five|six|"), "{}", screen.text);
    // A module's command, too.
    commands.set_changing(&Loadable);
    let mut screen = Screen::new();
    assert_eq!(commands.run_line("help", &mut house, &mut screen).failures, 0);
    assert!(screen.text.contains("\n  memtest [SIZE]      test memory\n"), "{}", screen.text);
}

#[test]
fn help_keeps_to_100_columns() {
    const LONG: &[Command<House>] = &[Command {
        name: "long",
        usage: "one|two THING|three|four|five|six|seven|eight|nine|ten|eleven|twelve|thirteen|fourteen|fifteen|sixteen",
        summary: "as many words as there are",
        help: "Prose goes on in the next line where the line has ended, and a paragraph whose lines are longer than\n\
               a hundred columns, as the first one is that has more than that many characters in it, is broken anew.\n\
               one         it is short, and is left as it is\n\
               two THING   it is so long that its last words do not fit on the line and go on below the words that they follow\n\
               Short prose\nkeeps its lines.\n",
        complete: Complete::Nothing,
        run: |_, _, _| Ok(()),
    }];
    let (mut screen, mut house) = (Screen::new(), House::default());
    assert_eq!(Commands::new(&[LONG]).run_line("help long", &mut house, &mut screen).failures, 0);
    let expected = "\
long one|two THING|three|four|five|six|seven|eight|nine|ten|eleven|twelve|thirteen|fourteen|fifteen|
     sixteen: as many words as there are
Prose goes on in the next line where the line has ended, and a paragraph whose lines are longer than
a hundred columns, as the first one is that has more than that many characters in it, is broken
anew.
one         it is short, and is left as it is
two THING   it is so long that its last words do not fit on the line and go on below the words that
            they follow
Short prose
keeps its lines.
";
    assert_eq!(screen.text, expected);
}

#[test]
fn filters() {
    says("meminfo | grep Mem", "MemTotal:          16384 kB\nMemFree:            8192 kB\n", 0);
    says("meminfo | grep -v Mem", "DirectMap1G:    33554432 kB\n", 0);
    says("meminfo | grep -i MEMF", "MemFree:            8192 kB\n", 0);
    says("count-up 20 | grep \"line 1\" | head 2 | count", "2\n", 0);
    says("count-up 20 | count | grep 20", "20\n", 0);
    says("memmap | count", "1\n", 0);
    says("memmap | head 1", "no newline at the end\n", 0);
    // A complaint goes past the filter.
    says("walk q | count", "0\nwalk: ADDR: 'q' is not a hexadecimal address (usage: walk ADDR)\n", 1);
}

#[test]
fn head_stops_the_command() {
    let (said, outcome, ran) = run("count-up 1000000 | head 3; maps");
    assert_eq!(said, "line 0\nline 1\nline 2\n");
    assert_eq!(ran, ["stopped at 3", "maps"]);
    assert_eq!(outcome, Outcome { commands: 2, failures: 0, interrupted: false });
}

#[test]
fn interrupts_end_the_line() {
    let (mut screen, mut house) = (Screen::new(), House::default());
    screen.is_interrupted.set(true);
    let outcome = commands().run_line("count-up 5; maps", &mut house, &mut screen);
    assert_eq!(outcome, Outcome { commands: 1, failures: 0, interrupted: true });
    assert_eq!(house.ran, ["stopped at 0"]);
}

#[test]
fn batches() {
    let mut batch = Session::on(Screen::new(), Mode::Batch);
    batch.keys("maps\n\nwalk q\r\nmemmap\nmaps short\x04");
    assert_eq!(batch.last, Progress::End(Outcome { commands: 1, failures: 0, interrupted: false }));
    assert_eq!(batch.house.ran, ["maps", "walk q", "memmap", "maps short"]);
    assert_eq!(batch.monitor.failures(), 1);
    assert_eq!(
        batch.screen.text,
        "walk: ADDR: 'q' is not a hexadecimal address (usage: walk ADDR)\nno newline at the end\n"
    );
    let mut batch = Session::on(Screen::new(), Mode::Batch);
    batch.keys("maps ".repeat(200)).keys(b"\n\xff\n\x04");
    assert!(batch.house.ran.is_empty());
    assert!(batch.screen.text.starts_with("line: longer than 512 bytes, not run\n"));
    assert!(batch.screen.text.ends_with("line: not UTF-8, not run\n"));
}

#[test]
fn a_line_that_is_typed_too_long_is_refused_whole() {
    const REFUSAL: &str = "line: longer than 512 bytes, not run";
    let mut person = Session::new();
    person.keys("maps ; ".repeat(100)).keys("\r");
    assert!(person.house.ran.is_empty() && person.screen.text.contains(REFUSAL));
    assert_eq!(person.last, Progress::Ran(Outcome { commands: 1, failures: 1, interrupted: false }));
    // It is not in the history, and characters of its middle are missing, whatever is deleted of it.
    person.keys("\x10").sees("rhumb> _");
    person.keys("x".repeat(600)).keys("\x7f".repeat(508)).keys("\r");
    assert!(person.house.ran.is_empty());
    // A line that was emptied is a new one, and so is one of the history.
    person.keys("x".repeat(600)).keys("\x15maps\r");
    assert_eq!(person.house.ran, ["maps"]);
    person.keys("x".repeat(600)).keys("\x10\r");
    assert_eq!(person.house.ran, ["maps", "maps"]);
    person.keys("x".repeat(600)).keys("\x10\x0e\r");
    assert_eq!(person.house.ran, ["maps", "maps"]);
    // As long as there is room for.
    person.keys("#".repeat(512)).keys("\r");
    assert_eq!(person.last, Progress::Ran(Outcome::default()));
}

#[test]
fn arguments() {
    use rhumb_machine::{PhysAddr, PhysRange, VirtAddr, VirtRange};
    let of = Arguments::new;
    let virt = |value| Ok(VirtAddr::new(value));
    for text in
        ["ffff800000001000", "0xffff800000001000", "0xffff_8000_0000_1000", "virt:ffff_8000_0000_1000"]
    {
        assert_eq!(of(text).virt_addr("A"), virt(0xffff_8000_0000_1000));
    }
    assert_eq!(of("phys:1000").address("A"), Ok(Address::Physical(PhysAddr::new(0x1000))));
    assert_eq!(of("1000").address("A"), Ok(Address::Virtual(VirtAddr::new(0x1000))));
    assert_eq!(of("phys:10").phys_addr("A"), of("10").phys_addr("A"));
    for (text, bytes) in
        [("0", 0), ("4096", 4096), ("4K", 4096), ("2M", 2 << 20), ("1g", 1 << 30), ("1GiB", 1 << 30)]
    {
        assert_eq!(of(text).size("S"), Ok(bytes), "{text}");
    }
    assert_eq!(
        (of("3T").size("S"), of("0x1b").size("S"), of("7 kB").size("S")),
        (Ok(3 << 40), Ok(27), Ok(7))
    );
    let whole = |start, end| VirtRange::new(VirtAddr::new(start), VirtAddr::new(end)).unwrap();
    assert_eq!(of("1000..0x3000").virt_range("R"), Ok(whole(0x1000, 0x3000)));
    assert_eq!(of("1000+2M").virt_range("R"), Ok(whole(0x1000, 0x20_1000)));
    let phys = PhysRange::of_length(PhysAddr::new(0x1000), 4096);
    assert_eq!(of("phys:1000+4K").phys_range("R").ok(), phys);
    let problem = |result: Result<u64, ArgumentError>| result.unwrap_err().problem;
    for text in ["", "_1", "1_", "12g", "-1", "0x", "1.5", "18446744073709551616", "１"] {
        let expected = if text.is_empty() { Problem::Missing } else { Problem::NotANumber };
        assert_eq!(problem(of(text).number("N")), expected, "{text}");
    }
    for text in ["K", "1X", "1KK", "20000000T", "1Gi", "0x1K"] {
        assert_eq!(problem(of(text).size("S")), Problem::NotASize, "{text}");
    }
    for (text, expected) in [
        ("2000..1000", Problem::Backwards),
        ("ffffffffffffffff+2", Problem::Backwards),
        ("1000", Problem::NotARange),
        ("..", Problem::NotARange),
        ("phys:1..2", Problem::NotVirtual),
    ] {
        assert_eq!(of(text).virt_range("R").unwrap_err().problem, expected, "{text}");
    }
    assert_eq!(problem(of("9").number_to("N", 8)), Problem::Above(8));
    assert_eq!(of("1024").cpu("CPU").unwrap_err().problem, Problem::NotACpu);
    assert_eq!(of("1023").cpu("CPU").unwrap().index(), 1023);
    let mut words = of("  \"two words\" a\"b c\"d ");
    assert_eq!((words.next(), words.next(), words.next()), (Some("two words"), Some("a\"b c\"d"), None));
}

/// A part of the house that can be loaded: its command is there while it is.
struct Loadable;

impl ChangingCommands<House> for Loadable {
    fn for_each(&self, each: &mut dyn FnMut(Description<'_>)) {
        each(Description { name: "memtest", usage: "[SIZE]", summary: "test memory", help: "All of it." });
        // Another's name: the other's counts.
        each(Description { name: "maps", usage: "", summary: "none", help: "" });
    }

    fn run(
        &self,
        name: &str,
        house: &mut House,
        arguments: Arguments<'_>,
        out: &mut dyn Output,
    ) -> Option<Result<(), CommandError>> {
        if name != "memtest" {
            return None;
        }
        house.ran.push(String::from("memtest"));
        writeln!(out, "tested {arguments}");
        Some(if arguments.peek() == Some("bad") { Err(CommandError::failed("it is bad")) } else { Ok(()) })
    }
}

#[test]
fn commands_that_come_and_go_are_behind_all_others() {
    let mut commands = commands();
    let run = |commands: &Commands<House>, line: &str| {
        let (mut screen, mut house) = (Screen::new(), House::default());
        let outcome = commands.run_line(line, &mut house, &mut screen);
        (screen.text, outcome.failures, house.ran)
    };
    assert_eq!(run(&commands, "memtest").1, 1, "it is not there yet");
    commands.set_changing(&Loadable);
    assert_eq!(run(&commands, "memtest 4M").0, "tested 4M\n");
    assert_eq!(run(&commands, "memtest bad").0, "tested bad\nmemtest: it is bad\n");
    assert_eq!(run(&commands, "memtest x | count").0, "1\n", "filters");
    assert_eq!(run(&commands, "maps audit").2, ["maps audit"], "a name that another command has");
    assert!(run(&commands, "memtes").0.contains("unknown command"));
    assert_eq!(run(&commands, "help memtest").0, "memtest [SIZE]: test memory\nAll of it.\n");
    let table = run(&commands, "help").0;
    assert!(table.lines().any(|line| line.starts_with("  memtest [SIZE]") && line.ends_with("test memory")));
    assert!(run(&commands, "help moon").0.contains("no command"));
}
