//! A process as `/proc/PID/status`, `stat` and `cgroup` tell it.

#[cfg(test)]
mod tests;

/// The fields of `/proc/PID/status` that a search for holders needs.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Status {
    /// The command's name, up to 15 bytes, as the process has set it.
    pub name: String,
    /// The letter of its state: `Z` has ended already.
    pub state: Option<char>,
    /// The effective user.
    pub uid: Option<u32>,
    /// Its number in each name space of process numbers, the outermost first. Kernels before 4.1 tell none.
    pub ns_pids: Vec<u32>,
    /// Its threads.
    pub threads: Option<u32>,
    /// Bytes of its address space that are locked, secret memory included; a kernel thread has none.
    pub locked_bytes: Option<u64>,
}

impl Status {
    /// Parses `/proc/PID/status`.
    pub fn parse(text: &str) -> Self {
        let mut status = Self::default();
        for (key, value) in text.lines().filter_map(|line| line.split_once(':')) {
            let mut words = value.split_whitespace();
            match key {
                "Name" => status.name = unescape(value.trim_start_matches('\t')),
                "State" => status.state = words.next().and_then(|word| word.chars().next()),
                "Uid" => status.uid = words.nth(1).and_then(|word| word.parse().ok()),
                "NSpid" => status.ns_pids = words.filter_map(|word| word.parse().ok()).collect(),
                "Threads" => status.threads = words.next().and_then(|word| word.parse().ok()),
                "VmLck" => {
                    status.locked_bytes = words
                        .next()
                        .and_then(|word| word.parse::<u64>().ok())
                        .and_then(|number| number.checked_mul(1024));
                }
                _ => {}
            }
        }
        status
    }

    /// Returns the process's number in its own name space, if that is not ours.
    pub fn inner_pid(&self) -> Option<u32> {
        self.ns_pids.last().copied().filter(|_| self.ns_pids.len() > 1)
    }
}

/// Returns a name without the kernel's escapes: `\n` and `\\` in `status`.
fn unescape(text: &str) -> String {
    let mut plain = String::with_capacity(text.len());
    let mut signs = text.chars();
    while let Some(sign) = signs.next() {
        match sign {
            '\\' => match signs.next() {
                Some('n') => plain.push('\n'),
                Some(other) => plain.push(other),
                None => plain.push('\\'),
            },
            _ => plain.push(sign),
        }
    }
    plain
}

/// Returns when a process began, in clock ticks since boot: field 22 of `/proc/PID/stat`.
///
/// The name in field 2 may hold spaces and parentheses, so fields are counted from the last one.
pub fn start_ticks(stat: &str) -> Option<u64> {
    stat.rsplit_once(')')?.1.split_whitespace().nth(19)?.parse().ok()
}

/// Returns when the system was booted, in seconds since 1970: `btime` of `/proc/stat`.
pub fn boot_unix_s(stat: &str) -> Option<u64> {
    stat.lines().find_map(|line| line.strip_prefix("btime ")?.trim().parse().ok())
}

/// Returns how long the system has run, in seconds: the first word of `/proc/uptime`.
pub fn uptime_s(uptime: &str) -> Option<f64> {
    uptime.split_whitespace().next()?.parse().ok()
}

/// The fewest hexadecimal digits that are taken for a container's number.
const DIGITS: usize = 32;

/// The digits of a container's number that are shown, as container tools show them.
const SHOWN: usize = 12;

/// Returns the container that `/proc/PID/cgroup` names, if it names one: the first digits of its number, or the name
/// that LXC gives.
pub fn container(cgroup: &str) -> Option<String> {
    cgroup.lines().find_map(|line| {
        let path = line.splitn(3, ':').nth(2)?;
        path.split('/').rev().find_map(|part| {
            if let Some(name) =
                part.strip_prefix("lxc.payload.").or_else(|| part.strip_prefix("lxc.payload:"))
            {
                return Some(name.to_owned());
            }
            let part = part.strip_suffix(".scope").unwrap_or(part);
            let id = part.rsplit(['-', ':']).next().unwrap_or(part);
            let is_id = id.len() >= DIGITS && id.bytes().all(|digit| digit.is_ascii_hexdigit());
            is_id.then(|| id[..SHOWN].to_owned())
        })
    })
}

/// Returns the name of a user in `/etc/passwd`.
pub fn user_name(passwd: &str, uid: u32) -> Option<&str> {
    passwd.lines().find_map(|line| {
        let mut fields = line.split(':');
        let name = fields.next()?;
        (fields.nth(1)?.parse() == Ok(uid)).then_some(name)
    })
}

/// Returns the option `hidepid` of the file system that is mounted at `mount_point` last, in `/proc/self/mountinfo`, if
/// with it other users' processes are not even listed. The mode 1 (`noaccess`) lists them, and refuses their files.
pub fn hidepid(mountinfo: &str, mount_point: &str) -> Option<String> {
    let options = |line: &str| {
        let (left, right) = line.split_once(" - ")?;
        (left.split(' ').nth(4)? == mount_point).then(|| right.to_owned())
    };
    let right = mountinfo.lines().filter_map(options).next_back()?;
    let options = right.strip_prefix("proc ")?.split(' ').nth(1)?.split(',');
    let value = options.filter_map(|option| option.strip_prefix("hidepid=")).next_back()?;
    matches!(value, "2" | "invisible" | "4" | "ptraceable").then(|| value.to_owned())
}
