//! Commands about threads: `ps`.

use core::fmt;

use rhumb_monitor::{Arguments, Column, Command, CommandError, Complete, Human, Output, Table};
use rhumb_sched::{Policy, State, Turns};

use super::Kernel;
use crate::task::{self, Thread};

pub const COMMANDS: &[Command<Kernel>] = &[Command {
    name: "ps",
    usage: "",
    summary: "the threads of the kernel",
    help: "CLASS is TS for threads that share a CPU by their niceness (PRI/NI shows it), FF and RR for those of real time,\n\
           which come before them (PRI/NI is the priority, 0 to 63). A thread that is more urgent than its own class says,\n\
           because a more urgent one waits for it, has a +. STATE is R of one that runs, r of one that is ready, S of one\n\
           that waits, Z of one that has ended, N of one that has not started. TIME is what it has run, in seconds.",
    complete: Complete::Nothing,
    run: ps,
}];

const COLUMNS: &[Column] = &[
    Column::right("TID", 6),
    Column::left("NAME", 16),
    Column::left("CLASS", 5),
    Column::right("PRI/NI", 6),
    Column::left("STATE", 5),
    Column::right("CPU", 4),
    Column::right("TIME", 10),
    Column::right("STACK", 8),
];

fn ps(_: &mut Kernel, arguments: Arguments<'_>, out: &mut dyn Output) -> Result<(), CommandError> {
    arguments.end()?;
    let mut table = Table::new(out, COLUMNS);
    task::all::for_each(|thread| {
        let data = thread.data();
        let (class, number) = class(thread.policy());
        let is_lifted = thread.effective_policy().urgency() > thread.policy().urgency();
        table.row(&[
            &data.number(),
            &data.name(),
            &format_args!("{class}{}", if is_lifted { "+" } else { "" }),
            &number,
            &state(thread),
            &thread.cpu(),
            &Seconds(thread.ran_ns()),
            &Human(data.stack().bytes()),
        ]);
    });
    Ok(())
}

/// Returns the class of a policy, by the letters of Linux's `ps`, and the niceness or priority in it.
fn class(policy: Policy) -> (&'static str, i8) {
    match policy {
        Policy::Fair(nice) => ("TS", nice.get()),
        Policy::RealTime(priority, Turns::Fifo) => ("FF", priority.get() as i8),
        Policy::RealTime(priority, Turns::RoundRobin) => ("RR", priority.get() as i8),
    }
}

fn state(thread: &Thread) -> char {
    match thread.state() {
        State::Created => 'N',
        State::Ready => 'r',
        State::Running => 'R',
        State::Blocking | State::Blocked => 'S',
        State::Ended | State::Gone => 'Z',
    }
}

/// Nanoseconds as seconds with three decimals.
struct Seconds(u64);

impl fmt::Display for Seconds {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ms = self.0 / 1_000_000;
        write!(f, "{}.{:03}", ms / 1000, ms % 1000)
    }
}
