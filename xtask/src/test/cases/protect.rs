//! Protected page tables: everything that changes tables works with them, a stray write does not, and the audit sees
//! what is left open.

use crate::machine::MemorySize;
use crate::test::case::{Case, Ends};
use crate::test::expect::{Expect, lines, no_text, text};

/// A value of `protect_tables=`, what `cpus` says then, and why the CPU stops a stray write.
const WAYS: [(&str, &str, &str); 2] = [
    ("window", "page tables: read-only, written through windows", "the page's permissions forbid it"),
    ("pks", "page tables: of key 1", "its protection key forbids it"),
];

/// The sentence for a map that is as boot made it.
const HEALED: &str = "bit for bit";
const NO_KEYS: &str =
    "protect_tables=pks: this CPU has no protection keys for supervisor pages; windows are used";
/// A CPU without supervisor keys.
const WITHOUT_KEYS: &str = "Haswell";

pub(crate) fn cases() -> Vec<Case> {
    WAYS.into_iter().flat_map(|(way, status, why)| of_way(way, status, why)).chain(decided()).collect()
}

fn of_way(way: &str, status: &str, why: &str) -> Vec<Case> {
    let case = |name: &str, commands: &str| {
        Case::new(format!("protect/{way}{name}"), commands).append(&format!("protect_tables={way}"))
    };
    let sound = || [text("sound"), text(HEALED)];
    let whole = "cpus; directmap owners; selftest; maps; maps audit; directmap heal";
    let stressed =
        "stress directmap 2; stress pool 1; stress frames 1; maps audit; directmap heal; selftest protect";
    vec![
        case("", whole).within(120).expect([text(status), text("page tables"), text(HEALED)]),
        case("/8-cpus", "selftest protect; selftest direct_map; selftest unmapped; maps audit").cpus(8).memory(MemorySize::gib(4)).within(240).expect([text("sound")]),
        case("/1-cpu", whole).cpus(1).expect(sound()),
        // Where the highest 2 MiB below the hole are.
        case("/journal", "directmap why phys:0x7fc00000; directmap owners")
            .memory(MemorySize::gib(4))
            .expect([text("by page tables: boot's tables"), text("page tables          1       2 MiB")]),
        case("/stress", stressed).within(180).expect(sound()),
        case("/age", "directmap age full; directmap owners; maps audit; stress directmap 1; directmap heal; maps audit")
            .within(120)
            .expect([lines(2, "sound"), text(HEALED)]),
        case("/5-levels", "selftest protect; selftest direct_map; directmap heal").append(&format!("protect_tables={way} la57")).within(120).expect([text(HEALED)]),
        case("/4k", "selftest protect; selftest direct_map; stress directmap 1; maps audit; directmap heal")
            .append(&format!("protect_tables={way} directmap=4k"))
            .within(120)
            .expect(sound()),
        case("/high-memory", "selftest protect; selftest direct_map; maps audit; directmap heal")
            .append(&format!("protect_tables={way} directmap_limit=512M"))
            .within(120)
            .expect(sound()),
        case("/64M", "selftest protect; selftest direct_map; maps audit; directmap heal").memory(MemorySize::mib(64)).within(120).expect(sound()),
        // No 2-MiB block is whole: one is made for tables.
        case("/fragmented", "sample 1-in-64; selftest protect::i5_blocks; vmstat; sample free; maps audit; directmap heal")
            .memory(MemorySize::mib(64))
            .expect([text("0 blocks of 2 MiB whole"), text("1 passed, 0 failed"), no_text("compact_success 0"), text("sound"), text(HEALED)]),
        case("/nmi", "selftest nmi; dmesg; vmstat; selftest protect; maps audit; directmap heal")
            .within(180)
            .expect([text("4 passed, 0 failed"), text("nr_interrupts_nmi"), text("sound"), text(HEALED)]),
        case("/nmi/8-cpus", "selftest nmi; maps audit; directmap heal").cpus(8).within(240).expect(sound()),
        case("/stray-write", "fault table; unreached")
            .ends(Ends::Panicking)
            .expect([text("page fault"), text(why), lines(0, "unreached")]),
        case("/inject-table", "maps audit; inject table; maps audit")
            .ends(Ends::Failing)
            .expect([text("sound"), text("can be written at"), text("the audit found")]),
        case("/inject-none", "inject table; inject none; maps audit; directmap heal").expect(sound()),
        case("/soak", "directmap age random:1; stress directmap 120; directmap heal; maps audit; selftest")
            .cpus(4)
            .memory(MemorySize::gib(4))
            .soak(8)
            .expect([text("sound"), text(HEALED)]),
    ]
}

/// Returns the protection that is asked for, and the one that this CPU gives.
fn decided() -> Vec<Case> {
    let case = |name: &str, word: &str, status: &str| {
        Case::new(format!("protect/{name}"), "cpus; maps audit; selftest protect")
            .append(word)
            .expect([text(status), text("sound")])
    };
    let unprotected: Expect = text("page tables: not protected");
    let [(_, by_window, _), (_, by_key, _)] = WAYS;
    vec![
        case("off", "protect_tables=off", "page tables: not protected"),
        case("default", "", "page tables: not protected"),
        case("on", "protect_tables=on", by_key).expect([no_text(NO_KEYS)]),
        case("on/without-keys", "protect_tables=on", by_window).cpu(WITHOUT_KEYS).expect([no_text(NO_KEYS)]),
        case("pks/without-keys", "protect_tables=pks", by_window).cpu(WITHOUT_KEYS).expect([text(NO_KEYS)]),
        case("bad-word", "protect_tables=yes", "page tables: not protected")
            .expect([text("'protect_tables=yes' is ignored: accepted is off, on, window or pks")]),
        Case::new("protect/off/nmi", "selftest nmi; maps audit; directmap heal")
            .expect([text("sound"), text(HEALED)]),
        Case::new("protect/off/fault", "fault table; cpus")
            .ends(Ends::Failing)
            .expect([text("the CPU let 'table' pass"), unprotected]),
        Case::new("protect/off/inject", "inject table; inject key; inject none; maps audit")
            .ends(Ends::Failing)
            .expect([lines(2, "page tables are not protected in this way"), text("sound")]),
        Case::new("protect/pks/inject-key", "inject key; maps audit; inject none; maps audit")
            .append("protect_tables=pks")
            .ends(Ends::Failing)
            .expect([text("the key of page tables is open on CPU"), text("sound")]),
    ]
}
