//! Commands that end the run: `poweroff`, `reboot`, `panic`.

use rhumb_monitor::{Command, Complete};

use super::{Kernel, Then};

pub const COMMANDS: &[Command<Kernel>] = &[
    Command {
        name: "poweroff",
        usage: "",
        summary: "turn the machine off",
        help: "",
        complete: Complete::Nothing,
        run: |_, _, _| {
            super::end(Then::TurnOff);
            Ok(())
        },
    },
    Command {
        name: "reboot",
        usage: "",
        summary: "start the machine again",
        help: "A script's run ends here: its machine is not started again.",
        complete: Complete::Nothing,
        run: |_, _, _| {
            super::end(Then::Restart);
            Ok(())
        },
    },
    Command {
        name: "panic",
        usage: "[MESSAGE]",
        summary: "stop with a report, as the kernel does on a bug",
        help: "",
        complete: Complete::Nothing,
        run: |_, arguments, _| {
            if arguments.is_empty() {
                panic!("asked for at the prompt");
            }
            panic!("{arguments}")
        },
    },
];
