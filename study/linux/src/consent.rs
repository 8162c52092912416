//! The question whether the map may be broken.

use std::io::{self, BufRead, IsTerminal, Write};

use rhumb_study_report::Omission;
use rhumb_study_system::Session;

use crate::amount::Amount;

/// Whether the user has agreed beforehand.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Beforehand {
    /// By `--yes-until-reboot`.
    Agreed,
    /// Not yet: the user is asked, if there is a terminal.
    Open,
}

/// The part of the study that needs a broken map.
pub(crate) const PART: &str = "the broken map: before and after, by place, cost of the change";

const REMEDY: &str = "Run `study linux --yes-until-reboot --break 10%` on a machine that may be rebooted.";

/// Says what breaking means, and asks. Without a terminal the answer is no.
///
/// # Errors
/// The omission to report, where the map may not be broken.
pub(crate) fn ask(amount: Amount, beforehand: Beforehand, session: &Session) -> Result<(), Omission> {
    session.say(format!(
        "This study can break {amount} of this kernel's direct map into pages of 4 KiB.\n\
         THE CHANGE LASTS UNTIL REBOOT: the kernel mends nothing. It endangers no data; all programs may run a little slower \
         or faster, which is the question. Everything else runs without it."
    ));
    let refused =
        |why: &str| Omission { part: PART.to_owned(), why: why.to_owned(), remedy: REMEDY.to_owned() };
    if session.is_ending() {
        return Err(refused("The map was left whole, because the study was ended before."));
    }
    if beforehand == Beforehand::Agreed {
        session.say("Agreed by --yes-until-reboot.");
        return Ok(());
    }
    if !(io::stdin().is_terminal() && io::stderr().is_terminal()) {
        return Err(refused(
            "The map was left whole: there is no terminal on which the study could ask, and `--yes-until-reboot` was not given.",
        ));
    }
    let mut error = io::stderr();
    let _ = write!(error, "Break it? Type yes to agree: ").and_then(|()| error.flush());
    let mut answer = String::new();
    match io::stdin().lock().read_line(&mut answer) {
        Ok(_) if answer.trim().eq_ignore_ascii_case("yes") && !session.is_ending() => Ok(()),
        _ => Err(refused("The map was left whole, as the user wished.")),
    }
}
