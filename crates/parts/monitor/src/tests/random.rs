//! Anything may be typed: nothing panics, and the screen shows the line.

use proptest::prelude::*;

use super::*;
use crate::line::Line;
use crate::view::width;

/// Keys and noise, with more of what does something than chance would bring.
fn input() -> impl Strategy<Value = Vec<u8>> {
    let piece = prop_oneof![
        6 => "[a-z ;|\"]{1,12}".prop_map(String::into_bytes),
        // The terminal of the tests drops U+FFFD.
        2 => "\\PC{1,4}".prop_map(|text| text.replace('\u{fffd}', "?").into_bytes()),
        6 => (0u8..32).prop_map(|control| std::vec![control]),
        4 => "\u{1b}[\\[O][0-9;]{0,4}[A-Za-z~]".prop_map(String::into_bytes),
        2 => "\u{1b}[bfd\u{7f}]".prop_map(String::into_bytes),
        1 => proptest::collection::vec(any::<u8>(), 1..4),
        1 => "[a-z漢]{60}".prop_map(String::into_bytes),
    ];
    proptest::collection::vec(piece, 0..60).prop_map(|pieces| pieces.concat())
}

struct Fixed;

impl Completer for Fixed {
    fn complete(&self, before: &str, candidates: &mut Candidates<'_>) {
        if before.len().is_multiple_of(2) {
            candidates.offer_all(["alpha", "alphabet", "größe", "größer", "漢字"]);
        }
    }
}

/// Returns the row that must be seen while `line` is edited: all of it, or the part around the cursor with a mark on
/// each side that hides something.
fn assert_shows(screen: &Screen, prompt: &str, line: &Line) {
    let (_, column) = screen.cursor();
    let view = screen.terminal.screen();
    let columns = view.size().1.get();
    let row = usize::from(view.cursor_position().0);
    let part = |start: usize, length: usize| {
        let text = view.rows(start as u16, length as u16).nth(row).unwrap_or_default();
        std::format!("{text}{:1$}", "", length.saturating_sub(width(&text)))
    };
    let (before, after) = (part(0, column), part(column, usize::from(columns) - column));
    let before = before.strip_prefix(prompt).unwrap_or_else(|| panic!("no {prompt:?} in {before:?}"));
    if before != line.before() {
        let shown =
            before.strip_prefix('<').unwrap_or_else(|| panic!("{before:?} before {:?}", line.before()));
        assert!(line.before().ends_with(shown), "{shown:?} is no end of {:?}", line.before());
    }
    if after.trim_end() != line.after().trim_end() {
        let shown = after.trim_end().strip_suffix('>').unwrap_or_else(|| panic!("{after:?}"));
        assert!(line.after().starts_with(shown), "{shown:?} is no start of {:?}", line.after());
        assert!(!shown.is_empty(), "the character under the cursor is hidden");
    }
    if width(line.as_str()) + prompt.len() < usize::from(columns) {
        assert_eq!((before, after.trim_end()), (line.before(), line.after().trim_end()));
    }
}

/// A line as it should behave: characters, a cursor, what was deleted last.
#[derive(Default, Clone)]
struct Model {
    text: Vec<char>,
    cursor: usize,
    killed: Vec<char>,
}

impl Model {
    fn kill(&mut self, range: core::ops::Range<usize>) {
        if !range.is_empty() {
            self.killed = self.text[range.clone()].to_vec();
            self.delete(range);
        }
    }

    fn delete(&mut self, range: core::ops::Range<usize>) {
        self.cursor = range.start;
        self.text.drain(range);
    }

    fn back_while(&self, mut from: usize, is: impl Fn(char) -> bool) -> usize {
        while from > 0 && is(self.text[from - 1]) {
            from -= 1;
        }
        from
    }

    fn on_while(&self, mut from: usize, is: impl Fn(char) -> bool) -> usize {
        while from < self.text.len() && is(self.text[from]) {
            from += 1;
        }
        from
    }

    fn key(&mut self, key: &str) {
        let (cursor, end) = (self.cursor, self.text.len());
        let is_word = |character: char| character.is_alphanumeric() || character == '_';
        let word_left = self.back_while(self.back_while(cursor, |c| !is_word(c)), is_word);
        let word_right = self.on_while(self.on_while(cursor, |c| !is_word(c)), is_word);
        match key {
            "\x01" => self.cursor = 0,
            "\x05" => self.cursor = end,
            "\x02" => self.cursor = cursor.saturating_sub(1),
            "\x06" => self.cursor = end.min(cursor + 1),
            "\x1bb" => self.cursor = word_left,
            "\x1bf" => self.cursor = word_right,
            "\x7f" => self.delete(cursor.saturating_sub(1)..cursor),
            "\x1b[3~" => self.delete(cursor..end.min(cursor + 1)),
            "\x0b" => self.kill(cursor..end),
            "\x15" => self.kill(0..cursor),
            "\x1bd" => self.kill(cursor..word_right),
            "\x1b\x7f" => self.kill(word_left..cursor),
            "\x17" => {
                let word = self.back_while(cursor, char::is_whitespace);
                self.kill(self.back_while(word, |c| !c.is_whitespace())..cursor);
            }
            "\x19" => {
                self.text.splice(cursor..cursor, self.killed.clone());
                self.cursor += self.killed.len();
            }
            "\x14" if end >= 2 && cursor > 0 => {
                let second = cursor.min(end - 1);
                self.text.swap(second - 1, second);
                self.cursor = second + 1;
            }
            "\x14" => {}
            text => {
                self.text.splice(cursor..cursor, text.chars());
                self.cursor += text.chars().count();
            }
        }
    }
}

const KEYS: [&str; 20] = [
    "\x01", "\x05", "\x02", "\x06", "\x1bb", "\x1bf", "\x7f", "\x1b[3~", "\x0b", "\x15", "\x1bd", "\x1b\x7f",
    "\x17", "\x19", "\x14", "walk", " ", "x_1", "ß漢", ".",
];

proptest! {
    #![proptest_config(ProptestConfig::with_cases(100))]

    #[test]
    fn the_screen_shows_the_line(bytes in input(), columns in prop::sample::select(&[32u16, 40, 41, 80][..])) {
        let mut screen = Screen::sized(50, columns);
        let mut editor = Editor::new("> ");
        editor.set_columns(usize::from(columns));
        editor.begin(&mut screen);
        for byte in bytes {
            let before = editor.line.as_str().to_string();
            if editor.feed(byte, &Fixed, &mut screen) != Event::Pending {
                assert!(before == editor.line.as_str());
                editor.begin(&mut screen);
            }
            let prompt = editor.search.as_ref().map_or("> ".to_string(), |search| search.prompt().to_string());
            // The search's prompt may leave less room than a line needs at the least.
            if prompt == "> " {
                assert_shows(&screen, &prompt, &editor.line);
            }
        }
    }

    #[test]
    fn keys_do_what_the_model_does(keys in proptest::collection::vec(prop::sample::select(&KEYS[..]), 0..60)) {
        let (mut editor, mut model, mut screen) = (Editor::new("> "), Model::default(), Screen::new());
        for key in keys {
            let mut next = model.clone();
            next.key(key);
            // The limit of a line is tested elsewhere.
            if next.text.iter().map(|character| character.len_utf8()).sum::<usize>() > LINE_BYTES {
                break;
            }
            model = next;
            for byte in key.bytes() {
                assert_eq!(editor.feed(byte, &Fixed, &mut screen), Event::Pending);
            }
            prop_assert_eq!(editor.line.as_str(), model.text.iter().collect::<String>());
            prop_assert_eq!(editor.line.before().chars().count(), model.cursor);
        }
    }

    #[test]
    fn any_input_to_a_session(bytes in input(), is_batch in any::<bool>()) {
        let mode = if is_batch { Mode::Batch } else { Mode::Interactive };
        let mut session = Session::on(Screen::new(), mode);
        session.keys(bytes).keys("\x07\x03\n\nmaps short\r");
        prop_assert_eq!(session.house.ran.last().map(String::as_str), Some("maps short"));
    }

    #[test]
    fn any_line(line in "(count-up [0-9]|maps|walk|\\||;|grep|head|count|\"| |[ -~]{1,5}){0,12}") {
        let (mut screen, mut house) = (Screen::new(), House::default());
        let outcome = commands().run_line(&line, &mut house, &mut screen);
        prop_assert!(outcome.failures <= outcome.commands);
        prop_assert!(!screen.text.contains('\x1b'));
    }

    #[test]
    fn filters_agree_with_iterators(lines in proptest::collection::vec("[a-c]{0,3}", 0..12), head in 0usize..6) {
        struct Pieces<'a>(&'a mut dyn Output);
        let mut screen = Screen::new();
        let mut text = lines.iter().map(|line| std::format!("{line}\n")).collect::<String>();
        text.insert_str(0, &std::format!("{}\n", "b".repeat(JUDGED_BYTES * 2 + head)));
        let filters = ["grep b", &std::format!("head {head}"), "grep -v cc"];
        let filters = filters.map(|filter| crate::filter::Filter::parse(filter).ok());
        let mut pipeline = crate::filter::Pipeline::new([filters[0], filters[1], filters[2], None], &mut screen);
        let pieces = Pieces(&mut pipeline);
        // In pieces of any length, as formatting makes them.
        for piece in text.as_bytes().chunks(head + 1) {
            pieces.0.write_str(core::str::from_utf8(piece).unwrap());
        }
        pipeline.finish();
        let kept = text.lines().filter(|line| line.contains('b')).take(head).filter(|line| !line.contains("cc"));
        prop_assert_eq!(screen.text, kept.map(|line| std::format!("{line}\n")).collect::<String>());
    }

    #[test]
    fn the_history_is_a_list(lines in proptest::collection::vec("(a|ß)?|[a-bß ]{0,400}", 0..40)) {
        let (mut history, mut model) = (crate::history::History::new(), Vec::<&str>::new());
        for line in &lines {
            history.push(line);
            if !line.trim().is_empty() && model.last() != Some(&line.as_str()) {
                model.push(line);
            }
            let kept: Vec<&str> = history.newest_first().collect();
            let newest: Vec<&str> = model.iter().rev().take(kept.len()).copied().collect();
            prop_assert_eq!(&kept, &newest);
            // Nothing is dropped while there is room for it.
            let dropped = model.iter().rev().nth(kept.len()).map_or(usize::MAX, |line| line.len() + 1);
            let used: usize = kept.iter().map(|line| line.len() + 1).sum();
            prop_assert!(dropped > crate::history::HISTORY_BYTES - used);
        }
    }

    #[test]
    fn numbers_come_back(value in any::<u64>()) {
        let texts = [std::format!("{value}"), std::format!("{value:#x}")];
        for text in &texts {
            prop_assert_eq!(crate::arguments::number(text), Some(value));
            prop_assert_eq!(crate::arguments::size(text), Some(value));
        }
        prop_assert_eq!(crate::arguments::hexadecimal(&std::format!("{value:x}")), Some(value));
    }

    #[test]
    fn any_word_as_any_argument(word in "[0-9a-fx_.+:KMGphysvirt-]{0,12}") {
        let arguments = Arguments::new(&word);
        let _ = (arguments.clone().address("A"), arguments.clone().virt_range("A"), arguments.clone().phys_range("A"));
        let _ = (arguments.clone().size("A"), arguments.clone().cpu("A"));
    }
}
