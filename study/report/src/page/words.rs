//! The method in short, and the words that a reader may not know.

use maud::{Markup, html};

use crate::schema::{Kind, Study};

/// Words of all studies.
const WORDS: [(&str, &str); 4] = [
    (
        "Direct map",
        "The kernel's map of all physical memory, at one constant offset. With pages of 1 GiB, one entry of the TLB reaches a whole gigabyte of it.",
    ),
    (
        "TLB",
        "The CPU's cache of translations from addresses to memory. A miss makes the CPU walk the page tables.",
    ),
    (
        "Split, broken",
        "A large page of the map becomes many small ones, because a part of it got other permissions or left the map.",
    ),
    (
        "Secret memory",
        "Memory of memfd_secret(2), which the kernel takes out of its direct map so that it cannot read it by accident.",
    ),
];

/// Words of studies with effects.
const STATISTICS: [(&str, &str); 5] = [
    (
        "Round",
        "One sample of each arm, in an order that is drawn anew, so that a slow minute of the machine hits all arms alike.",
    ),
    (
        "Effect",
        "The ratio of the arm to its baseline, from the samples of the same rounds: the median of the means of all pairs of rounds (Hodges and Lehmann).",
    ),
    (
        "Interval",
        "Of a hundred such intervals, at least 95 hold the true ratio. It belongs to the signed-rank test. The adjusted one is wider, so that the chance of a single false alarm among all comparisons stays below 5 %.",
    ),
    (
        "Could have seen",
        "The smallest effect that a comparison like this one finds in 80 of 100 cases. Where no effect was seen, a smaller one may still be there.",
    ),
    (
        "Controls",
        "The positive control has an effect that is known to be there, and the study must see it. The negative control compares the same with the same, and the study must see nothing. If either fails, the study proves nothing.",
    ),
];

/// Returns the section.
pub(super) fn section(study: &Study) -> Markup {
    let has_effects = !study.comparisons.is_empty() || !study.controls.is_empty();
    let statistics = STATISTICS.iter().filter(|_| has_effects);
    html! {
        section #method {
            h2 { "How this was measured" }
            p {
                (match study.kind {
                    Kind::Linux => "The running kernel's own map was measured, broken by secret memory, and measured again, without any change to the kernel.",
                    Kind::Who => "Everything here is from files that the kernel shows to every user, or to root. Nothing was changed.",
                    Kind::Hosted => "Rhumb's memory core ran in an ordinary process on this machine's own TLB. Its direct map was backed by pages of different sizes.",
                    Kind::Kernel => "The Rhumb kernel ran in an emulator that counts each instruction and each memory access. A model of a TLB turned them into misses. Times of an emulator mean nothing, so there are none here.",
                })
                @if has_effects { " All arms of a workload took turns within each round. A workload ended when its intervals were as narrow as wanted, or its time was up." }
            }
            details { summary { "The words explained" } dl.words { @for (word, meaning) in WORDS.iter().chain(statistics) { dt { (word) } dd { (meaning) } } } }
        }
    }
}
