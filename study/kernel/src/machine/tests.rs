use std::os::unix::fs::PermissionsExt;

use rhumb_tlb_model::published;

use super::*;
use crate::plan::plan;

/// A folder of the test's own, gone at its end.
struct Scratch(PathBuf);

impl Scratch {
    fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("rhumb-study-kernel-{name}-{}", std::process::id()));
        fs::create_dir_all(&path).unwrap();
        Self(path)
    }

    /// Writes a program that takes the place of QEMU.
    fn program(&self, text: &str) -> PathBuf {
        let path = self.0.join("qemu");
        fs::write(&path, format!("#!/bin/sh\n{text}\n")).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
        path
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

fn go(scratch: &Scratch, text: &str) -> Result<Said, Silence> {
    let parts = Parts { qemu: scratch.program(text), kernel: "kernel,elf".into(), plugin: "plugin".into() };
    let session = Session::quiet(scratch.0.clone());
    let folder = Folder::new(&session, &[published::zen3()]).unwrap();
    run(&parts, &plan(true)[0], &folder, &session)
}

/// Writes the plugin's two reports where the arguments say.
const REPORTS: &str = r#"
for word in "$@"; do case "$word" in file=*) plugin="$word";; esac; done
out=${plugin#*,out=}; out=${out%%,*}
trace=${plugin#*,trace=}; trace=${trace%%,*}
printf 'rhumb-count 1\nend\n' > "$out"
printf 'rhumb-trace 1\ngeometry zen3\nend\n' > "$trace"
"#;

#[test]
fn a_machine_gets_its_commands_when_it_asks_and_is_heard_to_the_end() {
    let scratch = Scratch::new("heard");
    let said = go(&scratch, &format!("{REPORTS}\nprintf 'hello\\r\\n\\005'; head -n 2; exit 33")).unwrap();
    assert!(said.console.starts_with("hello\ncount empty study"), "{}", said.console);
    assert!(said.console.contains("meminfo"));
    assert_eq!(said.trace.unwrap().geometries, ["zen3"]);
    // The files of the machine are gone with the folder.
    let left: Vec<_> = fs::read_dir(&scratch.0).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(left, ["qemu"]);
}

#[test]
fn other_ends_are_told() {
    let scratch = Scratch::new("ends");
    let failed = |text: &str| go(&scratch, text).unwrap_err().to_string();
    assert_eq!(failed("echo no such machine >&2; exit 1"), "QEMU says: no such machine");
    assert_eq!(failed("echo oops; exit 35"), "a command failed: oops");
    assert_eq!(failed("exit 0"), "the kernel did not come to its end: it said nothing");
    assert!(failed("exit 33").contains("No such file"));
    let cut = REPORTS.replace("geometry zen3\\nend", "geometry zen3");
    assert!(failed(&format!("{cut}\nexit 33")).contains("ended early"));
}

#[test]
fn a_study_that_ends_takes_its_machine_with_it() {
    let scratch = Scratch::new("ended");
    let pid = scratch.0.join("pid");
    let qemu = scratch.program(&format!("echo $$ > {}; exec sleep 600", pid.display()));
    let parts = Parts { qemu, kernel: "kernel".into(), plugin: "plugin".into() };
    let session = Session::quiet(scratch.0.clone());
    let folder = Folder::new(&session, &[]).unwrap();
    thread::scope(|scope| {
        scope.spawn(|| {
            while fs::read_to_string(&pid).unwrap_or_default().trim().is_empty() {
                thread::sleep(Duration::from_millis(10));
            }
            session.end();
        });
        let silence = run(&parts, &plan(true)[0], &folder, &session).unwrap_err();
        assert!(matches!(silence, Silence::Ended), "{silence}");
    });
    let pid = fs::read_to_string(&pid).unwrap();
    assert!(!Path::new("/proc").join(pid.trim()).join("exe").exists(), "QEMU runs on");
}

#[test]
fn the_arguments_name_the_files_and_quote_their_commas() {
    let scratch = Scratch::new("words");
    let parts = Parts { qemu: "qemu".into(), kernel: "a,b".into(), plugin: "p,q".into() };
    let folder = Folder::new(&Session::quiet(scratch.0.clone()), &[]).unwrap();
    let plan = plan(true);
    let words = arguments(&parts, &plan[0], &folder).join(" ");
    assert!(words.contains("-kernel a,b") && words.contains("file=p,,q,out="), "{words}");
    assert!(words.contains("directmap=1g") && words.contains("low=2147483648") && !words.contains("kvm"));
    let busy = plan.iter().find(|planned| planned.trace == Trace::Left).unwrap();
    assert!(!arguments(&parts, busy, &folder).join(" ").contains("trace="));
}

#[test]
fn a_version_is_read() {
    let scratch = Scratch::new("version");
    let of = |text: &str| version(&scratch.program(&format!("echo '{text}'")));
    assert_eq!(of("QEMU emulator version 10.0.2 (Debian 1:10.0.2+ds-2)"), Some(10));
    assert!(can_be_traced(Some(9)) && !can_be_traced(of("QEMU emulator version 7.2.17")));
    assert!(!can_be_traced(of("something else")));
}
