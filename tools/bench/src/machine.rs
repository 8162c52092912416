//! The cost of the hosted machine's own guards: every benchmark that pins contains it, so it must be small.

use std::hint::black_box;
use std::rc::Rc;

use rhumb_hosted::{ConfigError, CorePinning, HostedMachine, Machine};

use crate::args::Options;
use crate::clock::Clock;
use crate::driver::{Case, Group, Outcome, Sample, Unfit};
use crate::team::{self, Member, Timing};

/// Operations per round.
const OPERATIONS: usize = 1_000_000;

/// Operations between two looks at whether the other CPUs still run.
const STRIDE: usize = 1000;

/// Returns all groups.
pub(crate) fn groups(options: &Options) -> Result<Vec<Group>, ConfigError> {
    let cpus = options.cpus.iter().copied().max().unwrap_or(1);
    let machine =
        HostedMachine::builder().cpus(cpus).ram_bytes(1 << 20).pinning(CorePinning::OneEach).build()?;
    let (machine, clock) = (Rc::new(machine), Clock::calibrate());
    let operations = options.operations(OPERATIONS);
    let case = |subject, cpus, work: fn(&HostedMachine, &Member<'_>, usize) -> Timing| {
        let machine = Rc::clone(&machine);
        let run = Box::new(move || -> Outcome {
            let machine = &*machine;
            let times = team::run(machine, cpus, clock, |member| work(machine, member, operations));
            let times = times.map_err(|error| Unfit(error.to_string()))?;
            Ok(vec![Sample::ns("time", times.into_iter().sum::<Timing>().per_operation())])
        });
        Case { subject, run }
    };
    let group = |&cpus| Group {
        workload: "guard".to_owned(),
        cpus,
        cases: vec![
            case("empty-loop", cpus, |_, member, count| {
                member.timed(count, STRIDE, |index| {
                    black_box(index);
                })
            }),
            case("pin", cpus, |machine, member, count| {
                member.timed(count, STRIDE, |_| {
                    black_box(machine.pin().pinned().cpu());
                })
            }),
            case("irq-off", cpus, |machine, member, count| {
                member.timed(count, STRIDE, |_| {
                    black_box(machine.irq_off().irq_off().cpu());
                })
            }),
        ],
    };
    Ok(options.cpus.iter().map(group).collect())
}
