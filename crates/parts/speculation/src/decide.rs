//! The standing of each problem on a CPU, the measures to take, and whether programs run.

use core::fmt;

use crate::facts::{Facts, Runs, Vendor, capability};
use crate::problem::Problem;

/// The wish of a person: `mitigations=`.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
pub enum Mode {
    /// The measures that the CPU needs; programs are refused where a problem stays open.
    #[default]
    Auto,
    /// No measure, and programs run.
    Off,
}

/// Why a CPU does not have a problem.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Why {
    /// A bit of the CPU says so.
    SaysSo,
    /// No CPU of its maker has it.
    Maker,
    /// CPUs of its family or model do not have it.
    Model,
    /// It executes nothing ahead of its turn.
    InOrder,
    /// It has no transactions.
    NoTransactions,
}

/// By what a problem is handled.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Means {
    /// Numbers of programs are forced into their range by arithmetic, registers are cleared at entries, and a fence
    /// follows `swapgs`.
    Arithmetic,
    /// IBRS, which the CPU keeps up by itself: enhanced IBRS.
    EnhancedIbrs,
    /// The same of AMD: AutoIBRS.
    AutoIbrs,
    /// The history of branches is not used in the kernel: BHI_DIS_S.
    BhiDisabled,
    /// Absent entries of page tables name no memory.
    AbsentEntries,
    /// VERW overwrites the CPU's buffers before each return to a program.
    ClearBuffers,
}

/// The state of a problem on a CPU.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Standing {
    /// The CPU does not have it.
    NotAffected(Why),
    /// The CPU has it, and the kernel handles it.
    Handled(Means),
    /// The same, but for programs on another thread of the same core, which share the CPU's buffers while they run.
    HandledButForSiblings(Means),
    /// The CPU has it, and nothing is done.
    Open,
}

impl Standing {
    /// Tells whether nothing is done about it.
    pub const fn is_open(self) -> bool {
        matches!(self, Self::Open)
    }
}

/// The acts of the kernel. Each only where the CPU has the means.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
pub struct Measures {
    /// Sets IBRS in IA32_SPEC_CTRL, once.
    pub ibrs: bool,
    /// Sets AutoIBRS in EFER, once.
    pub auto_ibrs: bool,
    /// Sets STIBP in IA32_SPEC_CTRL, once: programs on two threads of a core do not train each other.
    pub stibp: bool,
    /// Sets BHI_DIS_S in IA32_SPEC_CTRL, once.
    pub bhi_disable: bool,
    /// Sets RRSBA_DIS_S in IA32_SPEC_CTRL, once: returns are predicted by returns alone.
    pub rrsba_disable: bool,
    /// Executes a fence behind `swapgs`, and behind the branch that skips it.
    pub fence_swapgs: bool,
    /// Overwrites the CPU's buffers by VERW before each return to a program.
    pub clear_buffers: bool,
    /// Gives the IBPB command as a CPU turns from one program to another of which it must not learn.
    pub ibpb_between_programs: bool,
}

impl Measures {
    /// Returns those that lie in the code of the kernel, which is the same for all CPUs.
    pub const fn in_code(self) -> Self {
        Self {
            ibrs: false,
            auto_ibrs: false,
            stibp: false,
            bhi_disable: false,
            rrsba_disable: false,
            fence_swapgs: self.fence_swapgs,
            clear_buffers: self.clear_buffers,
            ibpb_between_programs: false,
        }
    }

    /// Tells whether all measures of `other` are among these.
    pub fn include(self, other: Self) -> bool {
        self.flags().into_iter().zip(other.flags()).all(|(here, there)| here || !there)
    }

    fn flags(self) -> [bool; 8] {
        let Self {
            ibrs,
            auto_ibrs,
            stibp,
            bhi_disable,
            rrsba_disable,
            fence_swapgs,
            clear_buffers,
            ibpb_between_programs,
        } = self;
        [
            ibrs,
            auto_ibrs,
            stibp,
            bhi_disable,
            rrsba_disable,
            fence_swapgs,
            clear_buffers,
            ibpb_between_programs,
        ]
    }

    /// Returns what goes into IA32_SPEC_CTRL.
    pub const fn spec_ctrl(self) -> u64 {
        (self.ibrs as u64)
            | (self.stibp as u64) << 1
            | (self.rrsba_disable as u64) << 6
            | (self.bhi_disable as u64) << 10
    }
}

/// Whether programs run on a CPU.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Programs {
    /// They run: nothing is open.
    Run,
    /// They do not: a problem is open.
    Refused,
    /// They run, because a person has said so, and nothing is done about any problem.
    RunUnprotected,
}

/// A decision about one CPU.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Decision {
    standings: [Standing; Problem::ALL.len()],
    /// The acts of the kernel.
    pub measures: Measures,
    /// Whether programs run.
    pub programs: Programs,
}

impl Decision {
    /// Returns the standing of a problem.
    pub fn of(&self, problem: Problem) -> Standing {
        self.standings[problem.index()]
    }

    /// Returns the problems that are open.
    pub fn open(&self) -> impl Iterator<Item = Problem> + '_ {
        Problem::ALL.into_iter().filter(|&problem| self.of(problem).is_open())
    }

    /// Returns the same decision where the kernel's code has the measures `built_in` only: a problem for which one more
    /// is needed is open.
    #[must_use]
    pub fn with_code(mut self, built_in: Measures) -> Self {
        let lacks_clear = self.measures.clear_buffers && !built_in.clear_buffers;
        let lacks_fence = self.measures.fence_swapgs && !built_in.fence_swapgs;
        for standing in &mut self.standings {
            match standing {
                Standing::Handled(Means::ClearBuffers)
                | Standing::HandledButForSiblings(Means::ClearBuffers)
                    if lacks_clear =>
                {
                    *standing = Standing::Open;
                }
                Standing::Handled(Means::Arithmetic) if lacks_fence => *standing = Standing::Open,
                _ => {}
            }
        }
        if self.programs == Programs::Run && self.open().next().is_some() {
            self.programs = Programs::Refused;
        }
        self
    }
}

/// Models of Intel's family 6 that execute in order (Bonnell and Saltwell).
const IN_ORDER: [u32; 5] = [0x1c, 0x26, 0x27, 0x35, 0x36];

/// Models of Intel's family 6 with small cores that have RFDS (INTEL-SA-00898): Goldmont, Tremont, Gracemont, and those
/// with such cores beside large ones.
const SMALL_CORES: [u32; 12] = [0x5c, 0x5f, 0x7a, 0x86, 0x96, 0x9c, 0x97, 0x9a, 0xb7, 0xba, 0xbf, 0xbe];

/// Decides about the CPU that has these facts.
pub fn decide(facts: &Facts, mode: Mode) -> Decision {
    let protections = protections(facts);
    let standings = Problem::ALL.map(|problem| standing(facts, &protections, problem));
    let is_affected = |problem: Problem| !matches!(standings[problem.index()], Standing::NotAffected(_));
    if mode == Mode::Off {
        let standings = standings.map(|standing| match standing {
            Standing::NotAffected(_) => standing,
            // This one costs nothing, and is not turned off.
            Standing::Handled(Means::AbsentEntries) => standing,
            _ => Standing::Open,
        });
        return Decision { standings, measures: Measures::default(), programs: Programs::RunUnprotected };
    }
    let clears = |problem: Problem| {
        matches!(
            standings[problem.index()],
            Standing::Handled(Means::ClearBuffers) | Standing::HandledButForSiblings(Means::ClearBuffers)
        )
    };
    let measures = Measures {
        ibrs: protections.enhanced_ibrs,
        auto_ibrs: protections.auto_ibrs,
        stibp: facts.stibp && facts.has_siblings && is_affected(Problem::SpectreV2),
        bhi_disable: protections.bhi_disable,
        rrsba_disable: protections.enhanced_ibrs && facts.rrsba_control && facts.has(capability::RRSBA),
        fence_swapgs: is_affected(Problem::SpectreV1) && facts.vendor != Vendor::Amd,
        clear_buffers: Problem::ALL.into_iter().any(clears),
        ibpb_between_programs: facts.ibpb && is_affected(Problem::SpectreV2),
    };
    let is_open = standings.iter().any(|standing| standing.is_open());
    let programs = if is_open { Programs::Refused } else { Programs::Run };
    Decision { standings, measures, programs }
}

/// The protections that a CPU has to offer.
struct Protections {
    enhanced_ibrs: bool,
    auto_ibrs: bool,
    bhi_disable: bool,
    /// VERW overwrites what MDS and TAA leak.
    clears_buffers: bool,
    /// And what stale MMIO data are.
    clears_fill_buffers: bool,
    /// And what RFDS leaks.
    clears_registers: bool,
}

fn protections(facts: &Facts) -> Protections {
    let is_intel = facts.vendor == Vendor::Intel && facts.runs == Runs::Itself;
    let is_amd = facts.vendor == Vendor::Amd && facts.runs == Runs::Itself;
    let enhanced_ibrs = is_intel && facts.has(capability::IBRS_ALL);
    Protections {
        enhanced_ibrs,
        auto_ibrs: is_amd && facts.auto_ibrs,
        bhi_disable: enhanced_ibrs && facts.bhi_control && !facts.has(capability::BHI_NO),
        clears_buffers: is_intel && facts.md_clear,
        // VERW of a CPU that has MDS overwrites fill buffers without a bit that says so.
        clears_fill_buffers: is_intel
            && (facts.has(capability::FB_CLEAR)
                || facts.md_clear && facts.l1d_flush && !facts.has(capability::MDS_NO)),
        clears_registers: is_intel && facts.has(capability::RFDS_CLEAR),
    }
}

/// Returns the standing of a problem if all that the CPU offers is taken.
fn standing(facts: &Facts, protections: &Protections, problem: Problem) -> Standing {
    use Standing::{Handled, HandledButForSiblings, NotAffected, Open};
    let (is_intel, is_amd) = (facts.vendor == Vendor::Intel, facts.vendor == Vendor::Amd);
    if facts.runs == Runs::Emulated || is_intel && facts.family == 6 && IN_ORDER.contains(&facts.model) {
        return NotAffected(Why::InOrder);
    }
    let cleared = |does_clear: bool| match (does_clear, facts.has_siblings) {
        (false, _) => Open,
        (true, true) => HandledButForSiblings(Means::ClearBuffers),
        (true, false) => Handled(Means::ClearBuffers),
    };
    let targets = if protections.enhanced_ibrs {
        Handled(Means::EnhancedIbrs)
    } else if protections.auto_ibrs {
        Handled(Means::AutoIbrs)
    } else {
        Open
    };
    let says = |bits: u64| is_intel && facts.has(bits);
    match problem {
        Problem::SpectreV1 => Handled(Means::Arithmetic),
        Problem::SpectreV2 => targets,
        Problem::Meltdown | Problem::L1tf | Problem::Mds | Problem::MmioStaleData | Problem::Bhi
            if is_amd =>
        {
            NotAffected(Why::Maker)
        }
        Problem::Taa | Problem::Rfds if is_amd => NotAffected(Why::Maker),
        Problem::Srso if is_intel => NotAffected(Why::Maker),
        Problem::Meltdown if says(capability::RDCL_NO) => NotAffected(Why::SaysSo),
        Problem::Meltdown => Open,
        Problem::L1tf if says(capability::RDCL_NO) => NotAffected(Why::SaysSo),
        Problem::L1tf => Handled(Means::AbsentEntries),
        Problem::Mds if says(capability::MDS_NO) => NotAffected(Why::SaysSo),
        Problem::Mds => cleared(protections.clears_buffers),
        Problem::Taa if !facts.rtm && is_intel => NotAffected(Why::NoTransactions),
        Problem::Taa if says(capability::TAA_NO) => NotAffected(Why::SaysSo),
        Problem::Taa => cleared(protections.clears_buffers),
        Problem::MmioStaleData
            if says(capability::SBDR_SSDP_NO | capability::FBSDP_NO | capability::PSDP_NO) =>
        {
            NotAffected(Why::SaysSo)
        }
        Problem::MmioStaleData => cleared(protections.clears_fill_buffers),
        Problem::Rfds if says(capability::RFDS_NO) => NotAffected(Why::SaysSo),
        Problem::Rfds if is_intel && !says(capability::RFDS_CLEAR) && !has_small_cores(facts) => {
            NotAffected(Why::Model)
        }
        Problem::Rfds => cleared(protections.clears_registers),
        Problem::Bhi if says(capability::BHI_NO) => NotAffected(Why::SaysSo),
        Problem::Bhi if protections.bhi_disable => Handled(Means::BhiDisabled),
        Problem::Bhi => Open,
        Problem::Retbleed if is_amd && facts.family >= 0x19 => NotAffected(Why::Model),
        Problem::Retbleed if is_amd => Open,
        Problem::Retbleed => targets,
        Problem::Srso if is_amd && (facts.srso_no || facts.srso_user_kernel_no) => NotAffected(Why::SaysSo),
        Problem::Srso if is_amd && facts.family < 0x17 => NotAffected(Why::Model),
        Problem::Srso => Open,
    }
}

fn has_small_cores(facts: &Facts) -> bool {
    facts.family == 6 && SMALL_CORES.contains(&facts.model)
}

impl fmt::Display for Why {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::SaysSo => "the CPU says so",
            Self::Maker => "no CPU of its maker is",
            Self::Model => "its model is not",
            Self::InOrder => "it executes nothing ahead of its turn",
            Self::NoTransactions => "it has no transactions",
        })
    }
}

impl fmt::Display for Means {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Arithmetic => "bounds by arithmetic, cleared registers, fences at swapgs",
            Self::EnhancedIbrs => "enhanced IBRS",
            Self::AutoIbrs => "AutoIBRS",
            Self::BhiDisabled => "BHI_DIS_S",
            Self::AbsentEntries => "absent entries that name no memory",
            Self::ClearBuffers => "VERW before each return to a program",
        })
    }
}

impl fmt::Display for Standing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotAffected(why) => write!(f, "not affected: {why}"),
            Self::Handled(means) => write!(f, "handled: {means}"),
            Self::HandledButForSiblings(means) => {
                write!(f, "handled but for the other threads of a core: {means}")
            }
            Self::Open => f.write_str("open: nothing is done about it"),
        }
    }
}

impl fmt::Display for Programs {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Run => "programs run",
            Self::Refused => "programs are refused",
            Self::RunUnprotected => "programs run unprotected",
        })
    }
}

#[cfg(test)]
mod tests;
