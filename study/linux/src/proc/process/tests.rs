//! Processes of several kernels, containers and name spaces.

use super::*;

const STATUS_6_18: &str = "\
Name:\tev\\nil\\\\x
Umask:\t0022
State:\tS (sleeping)
Tgid:\t4242
Uid:\t1000\t1001\t1000\t1000
NSpid:\t4242\t17\t1
VmSize:\t    9000 kB
VmLck:\t      32 kB
Threads:\t3
";

#[test]
fn a_status_is_read() {
    let status = Status::parse(STATUS_6_18);
    assert_eq!(status.name, "ev\nil\\x");
    assert_eq!(status.state, Some('S'));
    assert_eq!(status.uid, Some(1001), "the effective user");
    assert_eq!(status.inner_pid(), Some(1));
    assert_eq!(status.threads, Some(3));
    assert_eq!(status.locked_bytes, Some(32 << 10));
}

#[test]
fn each_field_of_a_status_may_be_missing() {
    assert_eq!(Status::parse(""), Status::default());
    let kernel_thread = Status::parse("Name:\tkthreadd\nState:\tS (sleeping)\nNSpid:\t2\n");
    assert_eq!(kernel_thread.locked_bytes, None);
    assert_eq!(kernel_thread.inner_pid(), None, "our own name space");
    assert_eq!(Status::parse("Uid:\tx\ty\nVmLck:\t99999999999999999999 kB\n"), Status::default());
}

#[test]
fn a_name_with_parentheses_does_not_move_the_fields() {
    let stat = "4242 (a) R 1) S 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 5555 20 21";
    assert_eq!(start_ticks(stat), Some(5555));
    assert_eq!(start_ticks("4242 (a) S 1"), None);
    assert_eq!(boot_unix_s("cpu  1 2 3\nbtime 1795814000\nprocesses 9\n"), Some(1_795_814_000));
    assert_eq!(uptime_s("14031.22 27321.10\n"), Some(14_031.22));
}

#[test]
fn containers_are_told_by_their_groups() {
    let id = "4f1a".repeat(16);
    for (group, expected) in [
        (format!("0::/system.slice/docker-{id}.scope\n"), Some("4f1a4f1a4f1a")),
        (format!("12:pids:/docker/{id}\n0::/\n"), Some("4f1a4f1a4f1a")),
        (format!("0::/kubepods.slice/kubepods-pod1.slice/cri-containerd-{id}.scope\n"), Some("4f1a4f1a4f1a")),
        (format!("0::/kubepods/besteffort/pod9/{id}\n"), Some("4f1a4f1a4f1a")),
        (format!("0::/machine.slice/libpod-{id}.scope/container\n"), Some("4f1a4f1a4f1a")),
        ("0::/lxc.payload.web/init.scope\n".to_owned(), Some("web")),
        ("0::/user.slice/user-1000.slice/session-2.scope\n".to_owned(), None),
        ("0::/\n".to_owned(), None),
        (String::new(), None),
    ] {
        assert_eq!(container(&group).as_deref(), expected, "{group}");
    }
}

#[test]
fn users_are_told_by_number() {
    let passwd = "root:x:0:0:root:/root:/bin/sh\n\nbroken\nada:x:1000:1000::/home/ada:/bin/sh\n";
    assert_eq!(user_name(passwd, 0), Some("root"));
    assert_eq!(user_name(passwd, 1000), Some("ada"));
    assert_eq!(user_name(passwd, 7), None);
}

#[test]
fn a_hiding_proc_is_seen() {
    let hiding = "22 27 0:21 / /proc rw,relatime - proc proc rw,gid=26,hidepid=2\n";
    assert_eq!(hidepid(hiding, "/proc").as_deref(), Some("2"));
    assert_eq!(hidepid(hiding, "/other/proc"), None);
    let newer = "22 27 0:21 / /proc rw shared:5 - proc proc rw,hidepid=invisible\n";
    assert_eq!(hidepid(newer, "/proc").as_deref(), Some("invisible"));
    let open = "22 27 0:21 / /proc rw - proc proc rw\n";
    for open in [open, &open.replace("rw\n", "rw,hidepid=0\n"), &open.replace("rw\n", "rw,hidepid=1\n"), ""] {
        assert_eq!(hidepid(open, "/proc"), None, "{open}");
    }
    // The last one that is mounted there covers the others.
    assert_eq!(hidepid(&format!("{hiding}{open}"), "/proc"), None);
    assert_eq!(hidepid(&format!("{open}{hiding}"), "/proc").as_deref(), Some("2"));
    assert_eq!(hidepid(&format!("{hiding}30 22 0:40 / /proc rw - tmpfs none rw\n"), "/proc"), None);
}
