//! The machine's noise, measured before a study: how much does the time of one fixed piece of work vary?

use procfs::{CurrentSI, KernelStats};
use rhumb_method::Summary;
use rhumb_study_report::Noise;

use crate::chase::{Chase, Nodes};
use crate::session::Session;

#[cfg(test)]
mod tests;

/// The memory that the work walks over: more than the second-level cache of any CPU, so that the noise of what CPUs share
/// is in it.
const BYTES: usize = 64 << 20;

/// Batches of loads in one piece of work, which takes some milliseconds.
const BATCHES: u32 = 128;

/// Pieces of work: enough that a quartile is known to a few percent of itself.
const PIECES: u64 = 200;

/// The largest effect that has been published for the data of an x86 kernel in small pages, as a share: 3.8 % of a
/// kernel's build (docs/study/README.md has the sources). A machine on which a study cannot see it is hopeless.
const LARGEST_PUBLISHED: f64 = 0.04;

/// The smallest effect that a trial of `n` rounds sees is this times the spread, over the root of `n`.
///
/// The spread of a normal distribution is 1.35 times its deviation; the difference of two arms deviates 1.41 times as much
/// as each; the deviation of the estimate, which is 1.02 times that of the mean, is seen in 80 of 100 cases where the
/// effect is 4.2 times as large: 3.4 for the level of 0.05 among 50 comparisons with its allowance for early stops, and
/// 0.84. So 1.41 / 1.35 * 1.02 * 4.2, and a tenth more for the caution with which an effect states it.
const SMALLEST_BY_SPREAD: f64 = 5.0;

/// The share of stolen time above which a machine is hopeless: the hypervisor then takes whole time slices from one sample
/// in ten or more, whatever the quartiles say.
const MOST_STEAL: f64 = 0.1;

/// The rounds of an experiment.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Rounds {
    /// As many as it takes.
    pub number: u32,
    /// The words of the user's way to a smaller spread or to more rounds, after "stop other programs, or": "give the study
    /// more time with --minutes".
    pub remedy: &'static str,
}

/// Measures the noise, and judges it for an experiment. `None` where the user ends the study meanwhile.
pub fn noise(session: &Session, rounds: Rounds) -> Option<Noise> {
    noise_of(PIECES, session, rounds)
}

/// Measures the noise by so many pieces of work.
fn noise_of(pieces: u64, session: &Session, rounds: Rounds) -> Option<Noise> {
    let task = session.task("Measuring the machine's noise");
    let mut chase = Chase::over(vec![0; BYTES / size_of::<u64>()], Nodes::Lines, || session.is_ending())?;
    chase.follow(BATCHES);
    let before = ticks();
    let mut times = Vec::new();
    for piece in 0..pieces {
        if session.is_ending() {
            return None;
        }
        times.push(chase.follow(BATCHES));
        task.set(piece + 1, pieces);
    }
    Some(judge(Summary::of(&times)?.spread(), before.zip(ticks()).and_then(stolen), rounds))
}

/// All ticks of all CPUs, and the stolen ones among them.
type Ticks = (u64, u64);

/// Returns the ticks since boot; `None` where the kernel counts no stolen ones.
fn ticks() -> Option<Ticks> {
    let time = KernelStats::current().ok()?.total;
    let steal = time.steal?;
    let idle = time.idle + time.iowait.unwrap_or(0);
    let busy = time.user + time.nice + time.system + time.irq.unwrap_or(0) + time.softirq.unwrap_or(0);
    Some((idle + busy + steal, steal))
}

/// Returns the share of stolen ticks between two moments; `None` where none was ever stolen: on bare metal, and under a
/// hypervisor that does not tell.
fn stolen((before, after): (Ticks, Ticks)) -> Option<f64> {
    let (all, steal) = (after.0.saturating_sub(before.0), after.1.saturating_sub(before.1));
    (after.1 > 0 && all > 0).then(|| steal as f64 / all as f64)
}

/// Judges a machine by its spread and its stolen time, for trials of so many rounds.
fn judge(spread: f64, steal: Option<f64>, rounds: Rounds) -> Noise {
    let Rounds { number, remedy } = rounds;
    let smallest = SMALLEST_BY_SPREAD * spread / f64::from(number.max(1)).sqrt();
    let too_stolen = steal.is_some_and(|steal| steal > MOST_STEAL);
    let hopeless = too_stolen || smallest > LARGEST_PUBLISHED;
    let stolen = steal.map_or(String::new(), |steal| {
        format!(", and other guests took {:.1} % of the CPUs' time", 100.0 * steal)
    });
    let measured = format!(
        "The same work varied by {:.1} % of its time between the quartiles{stolen}: a comparison of {number} rounds can \
         show effects of {:.1} % and more",
        100.0 * spread,
        100.0 * smallest,
    );
    let verdict = match (hopeless, too_stolen) {
        (false, _) => format!("{measured}."),
        (true, true) => {
            format!("{measured}, and none that can be trusted; give the machine CPUs of its own.")
        }
        (true, false) => format!(
            "{measured}, while the largest that has been published is {:.0} %; stop other programs, or {remedy}.",
            100.0 * LARGEST_PUBLISHED
        ),
    };
    Noise { spread, steal, hopeless, verdict }
}
