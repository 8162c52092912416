use std::io;
use std::sync::Mutex;

use indicatif::TermLike;

use super::*;

#[test]
fn a_study_knows_its_machine_and_its_end() {
    let mut session = Session::quiet(PathBuf::from("unused"));
    session.name = Some("a machine".to_owned());
    let mut study = session.begin_study(Kind::Hosted);
    session.end_study(&mut study);
    assert_eq!((study.schema.as_str(), study.version, study.kind), (SCHEMA, VERSION, Kind::Hosted));
    assert_eq!((study.machine.name.as_str(), study.machine.cpus > 0), ("a machine", true));
    assert!(study.command.first().is_some_and(|program| !program.contains('/')), "{:?}", study.command);
    assert_eq!(study.ending, Ending::Whole);
    assert!(study.took_s >= 0.0 && study.began_unix_s > 1_700_000_000);
    session.end();
    session.end_study(&mut study);
    assert!(matches!(study.ending, Ending::Interrupted(_)));
}

#[test]
fn without_the_users_wish_the_hosts_name_is_not_in_the_study() {
    let study = Session::quiet(PathBuf::from("unused")).begin_study(Kind::Who);
    assert!(study.machine.name.starts_with(&study.machine.cpu), "{}", study.machine.name);
}

/// A terminal of 80 columns that remembers its lines.
#[derive(Clone, Debug, Default)]
struct Screen(Arc<Mutex<Vec<String>>>);

impl Screen {
    fn put(&self, text: &str) -> io::Result<()> {
        self.0.lock().unwrap().push(text.to_owned());
        Ok(())
    }

    /// Returns the last line with words.
    fn line(&self) -> String {
        self.0.lock().unwrap().iter().rfind(|line| !line.trim().is_empty()).cloned().unwrap_or_default()
    }
}

impl TermLike for Screen {
    fn width(&self) -> u16 {
        80
    }
    fn move_cursor_up(&self, _: usize) -> io::Result<()> {
        Ok(())
    }
    fn move_cursor_down(&self, _: usize) -> io::Result<()> {
        Ok(())
    }
    fn move_cursor_right(&self, _: usize) -> io::Result<()> {
        Ok(())
    }
    fn move_cursor_left(&self, _: usize) -> io::Result<()> {
        Ok(())
    }
    fn write_line(&self, text: &str) -> io::Result<()> {
        self.put(text)
    }
    fn write_str(&self, text: &str) -> io::Result<()> {
        self.put(text)
    }
    fn clear_line(&self) -> io::Result<()> {
        Ok(())
    }
    fn flush(&self) -> io::Result<()> {
        Ok(())
    }
}

#[test]
fn the_bar_of_progress_fits_a_terminal_of_80_columns() {
    let session = Session::quiet(PathBuf::from("unused"));
    let screen = Screen::default();
    let name = "pread of 64 bytes from 64 MiB of cached pages in broken and in whole blocks, by place";
    let target = ProgressDrawTarget::term_like(Box::new(screen.clone()));
    let task = session.task_on(target, name.to_owned());
    let draw = |done, of| {
        task.set(done, of);
        task.bar.force_draw();
        let line = screen.line();
        assert!(line.chars().count() <= 80 && line.contains("pread of 64 bytes"), "{line}");
        line
    };
    let nothing = draw(0, 0);
    assert!(!nothing.contains('/') && !nothing.contains('['), "{nothing}");
    let first = draw(0, 1080);
    assert!(first.contains("0/1080") && !first.contains("more"), "{first}");
    std::thread::sleep(Duration::from_millis(30));
    draw(500, 1080);
    let last = draw(1080, 1080);
    assert!(last.contains("1080/1080") && !last.contains("more"), "{last}");
    // The time is up: the bar that is there remains.
    assert!(draw(0, 0).contains("1080/1080"));
}
