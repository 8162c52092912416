use std::vec::Vec;

use proptest::prelude::*;

use super::Standing::{Handled, HandledButForSiblings, NotAffected};
use super::*;

fn intel(model: u32) -> Facts {
    Facts { vendor: Vendor::Intel, family: 6, model, has_siblings: false, ibpb: true, ..Facts::default() }
}

fn amd(family: u32) -> Facts {
    Facts { vendor: Vendor::Amd, family, has_siblings: false, ibpb: true, ..Facts::default() }
}

fn open(facts: &Facts) -> Vec<Problem> {
    decide(facts, Mode::Auto).open().collect()
}

/// Intel CPUs that are safe from the older problems by bits, and have enhanced IBRS.
const RECENT: u64 = capability::RDCL_NO
    | capability::IBRS_ALL
    | capability::MDS_NO
    | capability::TAA_NO
    | capability::SBDR_SSDP_NO
    | capability::FBSDP_NO
    | capability::PSDP_NO;

#[test]
fn skylake_leaks_in_most_ways() {
    let skylake = Facts { rtm: true, md_clear: true, l1d_flush: true, ..intel(0x5e) };
    let expected = [Problem::Meltdown, Problem::SpectreV2, Problem::Bhi, Problem::Retbleed];
    assert_eq!(open(&skylake), expected);
    let decision = decide(&skylake, Mode::Auto);
    assert_eq!(decision.programs, Programs::Refused);
    assert_eq!(decision.of(Problem::L1tf), Handled(Means::AbsentEntries));
    for problem in [Problem::Mds, Problem::Taa, Problem::MmioStaleData] {
        assert_eq!(decision.of(problem), Handled(Means::ClearBuffers), "{problem}");
    }
    assert_eq!(decision.of(Problem::Rfds), NotAffected(Why::Model));
    assert!(decision.measures.clear_buffers && decision.measures.fence_swapgs && !decision.measures.ibrs);
    // Its microcode is what makes VERW do that.
    let old = Facts { md_clear: false, ..skylake };
    assert!(open(&old).contains(&Problem::Mds) && open(&old).contains(&Problem::MmioStaleData));
}

#[test]
fn ice_lake_lacks_the_control_of_history() {
    let ice_lake = Facts { md_clear: true, arch_capabilities: RECENT, ..intel(0x6a) };
    assert_eq!(open(&ice_lake), [Problem::Bhi]);
}

#[test]
fn sapphire_rapids_runs_programs() {
    let facts = Facts {
        rtm: true,
        md_clear: true,
        bhi_control: true,
        rrsba_control: true,
        stibp: true,
        has_siblings: true,
        arch_capabilities: RECENT | capability::RRSBA,
        ..intel(0x8f)
    };
    let decision = decide(&facts, Mode::Auto);
    assert_eq!(decision.programs, Programs::Run);
    assert_eq!(decision.of(Problem::Bhi), Handled(Means::BhiDisabled));
    assert_eq!(decision.of(Problem::Retbleed), Handled(Means::EnhancedIbrs));
    assert_eq!(decision.measures.spec_ctrl(), 1 << 0 | 1 << 1 | 1 << 6 | 1 << 10);
    assert!(decision.measures.ibpb_between_programs && !decision.measures.clear_buffers);
}

#[test]
fn alder_lake_clears_registers() {
    let facts = Facts {
        bhi_control: true,
        arch_capabilities: RECENT | capability::RFDS_CLEAR,
        has_siblings: true,
        ..intel(0x97)
    };
    let decision = decide(&facts, Mode::Auto);
    assert_eq!(decision.of(Problem::Rfds), HandledButForSiblings(Means::ClearBuffers));
    assert!(decision.measures.clear_buffers);
    assert_eq!(decision.programs, Programs::Run);
    // Without the microcode nothing clears them.
    assert_eq!(open(&Facts { arch_capabilities: RECENT, ..facts }), [Problem::Rfds]);
    assert_eq!(open(&Facts { arch_capabilities: RECENT | capability::RFDS_NO, ..facts }), []);
}

#[test]
fn amd_by_family() {
    let zen_2 = amd(0x17);
    assert_eq!(open(&zen_2), [Problem::SpectreV2, Problem::Retbleed, Problem::Srso]);
    let zen_3 = amd(0x19);
    assert_eq!(open(&zen_3), [Problem::SpectreV2, Problem::Srso]);
    let zen_4 = Facts { auto_ibrs: true, ..amd(0x19) };
    assert_eq!(open(&zen_4), [Problem::Srso]);
    let zen_5 = Facts { auto_ibrs: true, srso_user_kernel_no: true, ..amd(0x1a) };
    let decision = decide(&zen_5, Mode::Auto);
    assert_eq!(decision.programs, Programs::Run);
    assert_eq!(decision.of(Problem::SpectreV2), Handled(Means::AutoIbrs));
    assert!(
        decision.measures.auto_ibrs && !decision.measures.fence_swapgs && decision.measures.spec_ctrl() == 0
    );
    let excavator = amd(0x15);
    assert_eq!(open(&excavator), [Problem::SpectreV2, Problem::Retbleed]);
}

#[test]
fn a_cpu_that_does_nothing_ahead_has_no_problem() {
    let emulated = Facts { runs: Runs::Emulated, ..amd(6) };
    for facts in [emulated, Facts { runs: Runs::Emulated, ..intel(0x5e) }, intel(0x1c)] {
        let decision = decide(&facts, Mode::Auto);
        assert!(Problem::ALL.into_iter().all(|problem| decision.of(problem) == NotAffected(Why::InOrder)));
        assert_eq!((decision.programs, decision.measures), (Programs::Run, Measures::default()));
    }
}

#[test]
fn in_doubt_a_cpu_is_affected() {
    let facts = Facts { arch_capabilities: u64::MAX, md_clear: true, auto_ibrs: true, ..Facts::default() };
    let decision = decide(&facts, Mode::Auto);
    assert_eq!(decision.programs, Programs::Refused);
    assert!(!Problem::ALL.into_iter().any(|problem| matches!(decision.of(problem), NotAffected(_))));
}

#[test]
fn code_without_a_measure_leaves_its_problems_open() {
    let facts =
        Facts { bhi_control: true, arch_capabilities: RECENT | capability::RFDS_CLEAR, ..intel(0x97) };
    let decision = decide(&facts, Mode::Auto);
    assert_eq!(decision.with_code(decision.measures), decision);
    let without = decision.with_code(Measures { clear_buffers: false, ..decision.measures });
    assert_eq!(without.open().collect::<Vec<_>>(), [Problem::Rfds]);
    assert_eq!(without.programs, Programs::Refused);
    let without = decision.with_code(Measures { fence_swapgs: false, ..decision.measures });
    assert_eq!(without.open().collect::<Vec<_>>(), [Problem::SpectreV1]);
    assert!(decision.measures.include(decision.measures.in_code()));
    assert!(!Measures::default().include(decision.measures.in_code()));
}

fn any_facts() -> impl Strategy<Value = Facts> {
    let vendor = prop_oneof![Just(Vendor::Intel), Just(Vendor::Amd), Just(Vendor::Other)];
    let runs = prop_oneof![8 => Just(Runs::Itself), 1 => Just(Runs::Emulated)];
    let family = prop_oneof![Just(6), Just(0xf), 0x14_u32..0x1c];
    let model = prop_oneof![Just(0x1c), Just(0x97), Just(0x5e), 0_u32..256];
    (vendor, runs, family, model, any::<[bool; 11]>(), any::<u64>()).prop_map(
        |(vendor, runs, family, model, flags, arch_capabilities)| {
            let [has_siblings, rtm, ibpb, stibp, md_clear, l1d_flush, rest @ ..] = flags;
            let [rrsba_control, bhi_control, auto_ibrs, srso_no, srso_user_kernel_no] = rest;
            Facts {
                vendor,
                runs,
                family,
                model,
                has_siblings,
                rtm,
                ibpb,
                stibp,
                md_clear,
                l1d_flush,
                rrsba_control,
                bhi_control,
                auto_ibrs,
                srso_no,
                srso_user_kernel_no,
                arch_capabilities,
            }
        },
    )
}

proptest! {
    #[test]
    fn a_measure_is_taken_only_where_the_cpu_has_its_means(facts in any_facts()) {
        let taken = decide(&facts, Mode::Auto).measures;
        let is_intel = facts.vendor == Vendor::Intel;
        prop_assert!(!taken.ibrs || is_intel && facts.has(capability::IBRS_ALL));
        prop_assert!(!taken.auto_ibrs || facts.auto_ibrs && facts.vendor == Vendor::Amd);
        prop_assert!(!taken.bhi_disable || taken.ibrs && facts.bhi_control);
        prop_assert!(!taken.rrsba_disable || taken.ibrs && facts.rrsba_control);
        prop_assert!(!taken.stibp || facts.stibp);
        prop_assert!(!taken.ibpb_between_programs || facts.ibpb);
        let verw = facts.md_clear || facts.has(capability::FB_CLEAR) || facts.has(capability::RFDS_CLEAR);
        prop_assert!(!taken.clear_buffers || is_intel && verw);
    }

    #[test]
    fn a_problem_that_measures_handle_has_them(facts in any_facts()) {
        let decision = decide(&facts, Mode::Auto);
        for problem in Problem::ALL {
            let has = match decision.of(problem) {
                Handled(means) | HandledButForSiblings(means) => match means {
                    Means::EnhancedIbrs => decision.measures.ibrs,
                    Means::AutoIbrs => decision.measures.auto_ibrs,
                    Means::BhiDisabled => decision.measures.bhi_disable,
                    Means::ClearBuffers => decision.measures.clear_buffers,
                    Means::Arithmetic => decision.measures.fence_swapgs || facts.vendor == Vendor::Amd,
                    Means::AbsentEntries => true,
                },
                _ => true,
            };
            prop_assert!(has, "{problem}: {} without its measure", decision.of(problem));
        }
    }

    #[test]
    fn programs_are_refused_exactly_where_something_is_open(facts in any_facts()) {
        let decision = decide(&facts, Mode::Auto);
        let expected = if decision.open().next().is_some() { Programs::Refused } else { Programs::Run };
        prop_assert_eq!(decision.programs, expected);
    }

    #[test]
    fn off_takes_no_measure_and_hides_nothing(facts in any_facts()) {
        let (auto, off) = (decide(&facts, Mode::Auto), decide(&facts, Mode::Off));
        prop_assert_eq!((off.programs, off.measures), (Programs::RunUnprotected, Measures::default()));
        for problem in Problem::ALL {
            let is_affected = !matches!(auto.of(problem), NotAffected(_));
            let is_said = off.of(problem).is_open() || off.of(problem) == Handled(Means::AbsentEntries);
            prop_assert_eq!(is_affected, is_said, "{}", problem);
        }
    }

    /// A bit that says that a CPU is safe, or can be made so, never opens a problem.
    #[test]
    fn a_safer_cpu_never_fares_worse(facts in any_facts(), bit in 0_usize..10) {
        let safe = [
            capability::RDCL_NO, capability::IBRS_ALL, capability::MDS_NO, capability::TAA_NO, capability::SBDR_SSDP_NO,
            capability::FBSDP_NO, capability::PSDP_NO, capability::FB_CLEAR, capability::BHI_NO, capability::RFDS_NO,
        ][bit];
        // A CPU that is safe from MDS says by another bit that VERW overwrites fill buffers: it is no longer implied.
        prop_assume!(safe != capability::MDS_NO || facts.has(capability::FB_CLEAR));
        let safer = Facts { arch_capabilities: facts.arch_capabilities | safe, ..facts };
        let (before, after) = (decide(&facts, Mode::Auto), decide(&safer, Mode::Auto));
        for problem in Problem::ALL {
            prop_assert!(!after.of(problem).is_open() || before.of(problem).is_open(), "{} opens", problem);
        }
    }
}
