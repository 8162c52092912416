//! The effects of secret memory on the rest of the system: hibernation.
//!
//! Since Linux 5.14 the kernel refuses to hibernate while a file of secret memory is open or mapped anywhere, touched or
//! not (`hibernation_available()`). It then shows `[disabled]` in `/sys/power/disk`, and leaves `disk` out of
//! `/sys/power/state`. Both show the same for other reasons, too, so a verdict says whether it is known or inferred.

#[cfg(test)]
mod tests;

use crate::proc::Root;

/// Texts from which the verdict follows; `None` where a file is missing.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(super) struct Power {
    /// `/sys/power/disk`.
    pub disk: Option<String>,
    /// `/sys/power/state`.
    pub state: Option<String>,
    /// `/sys/kernel/security/lockdown`.
    pub lockdown: Option<String>,
    /// `/proc/cmdline`.
    pub command_line: String,
    /// The kernel's release: `6.18.1`.
    pub release: String,
}

impl Power {
    /// Reads the texts.
    pub(super) fn read(root: &Root) -> Self {
        Self {
            disk: root.sys("power/disk").ok(),
            state: root.sys("power/state").ok(),
            lockdown: root.sys("kernel/security/lockdown").ok(),
            command_line: root.proc("cmdline").unwrap_or_default(),
            release: root.proc("sys/kernel/osrelease").unwrap_or_default().trim().to_owned(),
        }
    }

    /// Returns a reason other than secret memory for which the kernel refuses to hibernate, if one is visible.
    fn other_reason(&self) -> Option<&'static str> {
        let has = |word: &str| self.command_line.split_whitespace().any(|other| other == word);
        if has("nohibernate") || has("hibernate=no") {
            return Some("the kernel was booted with `nohibernate`");
        }
        let is_locked =
            self.lockdown.as_ref().is_some_and(|text| !text.contains("[none]") && text.contains('['));
        is_locked.then_some("the kernel is locked down, which forbids hibernation")
    }
}

/// Whether the machine can hibernate, as far as the kernel tells.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Hibernation {
    /// The kernel was built without it.
    NotBuilt,
    /// It is possible now.
    Possible,
    /// The kernel refuses it now.
    Refused,
    /// The kernel does not tell.
    Unknown,
}

/// How sure a verdict is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Ground {
    /// The kernel says so itself.
    Known,
    /// It follows from the kernel's rules and from the holders that were seen.
    Inferred,
}

impl Ground {
    /// Returns the word for it.
    pub fn word(self) -> &'static str {
        match self {
            Self::Known => "known",
            Self::Inferred => "inferred",
        }
    }
}

/// A verdict on hibernation.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Verdict {
    /// Whether it is possible.
    pub hibernation: Hibernation,
    /// Whether secret memory is the reason; `None` where that is open.
    pub by_secret_memory: Option<bool>,
    /// How sure the reason is.
    pub ground: Ground,
    /// One sentence on the result and its reason.
    pub sentence: String,
}

/// Judges whether holders of secret memory keep the machine from hibernating. `holders` is how many processes were seen to
/// hold any; `saw_all` is `false` where the scan could not read each process.
pub(super) fn judge(power: &Power, holders: usize, saw_all: bool) -> Verdict {
    let hibernation = match (&power.disk, &power.state) {
        (Some(disk), _) if disk.contains("[disabled]") => Hibernation::Refused,
        (Some(_), Some(state)) if state.split_whitespace().any(|word| word == "disk") => {
            Hibernation::Possible
        }
        (Some(_), None) => Hibernation::Possible,
        (Some(_), Some(_)) => Hibernation::Refused,
        (None, Some(_)) => Hibernation::NotBuilt,
        (None, None) => Hibernation::Unknown,
    };
    let is_rule = version(&power.release).is_none_or(|version| version >= (5, 14));
    let verdict = |by_secret_memory, ground, sentence: String| Verdict {
        hibernation,
        by_secret_memory,
        ground,
        sentence,
    };
    let held = if holders == 1 { "1 process holds".to_owned() } else { format!("{holders} processes hold") };
    match (hibernation, power.other_reason()) {
        (Hibernation::NotBuilt, _) => verdict(
            Some(false),
            Ground::Known,
            "This kernel cannot hibernate at all (it has no /sys/power/disk), so secret memory blocks nothing here.".into(),
        ),
        (Hibernation::Unknown, _) => verdict(
            None,
            Ground::Inferred,
            "Whether this machine can hibernate is not visible, because /sys/power is missing.".into(),
        ),
        (Hibernation::Possible, _) if holders == 0 => verdict(
            Some(false),
            Ground::Known,
            "The machine can hibernate, so no process anywhere has secret memory open, not even one that is hidden here."
                .into(),
        ),
        (Hibernation::Possible, _) => verdict(
            Some(false),
            Ground::Known,
            format!("{held} secret memory, and yet the machine can hibernate: this kernel does not ask for it."),
        ),
        (Hibernation::Refused, Some(reason)) if holders == 0 => verdict(
            None,
            Ground::Inferred,
            format!("The machine cannot hibernate, because {reason}; no holder of secret memory was seen."),
        ),
        (Hibernation::Refused, Some(reason)) => verdict(
            Some(true),
            Ground::Inferred,
            format!(
                "The machine cannot hibernate, because {reason}. Besides, {held} secret memory, which alone would \
                 suffice."
            ),
        ),
        (Hibernation::Refused, None) if holders > 0 && is_rule => verdict(
            Some(true),
            Ground::Inferred,
            format!(
                "The machine cannot hibernate: {held} secret memory, which suffices from Linux 5.14 on, touched or not, \
                 and no other reason is visible."
            ),
        ),
        (Hibernation::Refused, None) if !saw_all => verdict(
            None,
            Ground::Inferred,
            "The machine cannot hibernate, and no reason is visible: a process that this user may not see may hold \
             secret memory; root sees all of them."
                .into(),
        ),
        (Hibernation::Refused, None) => verdict(
            None,
            Ground::Inferred,
            "The machine cannot hibernate, and no reason is visible: secret memory may be held by a descriptor in \
             flight between two processes or by a thread with descriptors of its own, or the machine has CXL memory."
                .into(),
        ),
    }
}

/// Returns the first two numbers of a kernel's release.
pub(super) fn version(release: &str) -> Option<(u32, u32)> {
    let mut numbers = release.split(|sign: char| !sign.is_ascii_digit());
    Some((numbers.next()?.parse().ok()?, numbers.next()?.parse().ok()?))
}
