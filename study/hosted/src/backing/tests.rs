use super::*;

const BYTES: u64 = 64 << 20;

impl Backing {
    /// Returns the same memory, claimed to be in other pages.
    pub(crate) fn claiming(self, pages: Pages) -> Self {
        Self { pages, ..self }
    }
}

/// Returns memory, or says on which machine this test has nothing to test.
fn backing(pages: Pages) -> Option<Backing> {
    Backing::new(pages, BYTES, 1).inspect_err(|refusal| eprintln!("{pages}: {refusal}")).ok()
}

#[test]
fn small_pages_are_what_was_asked_for() {
    for pages in [Pages::Mib, Pages::Aged(8), Pages::Kib] {
        let Some(backing) = backing(pages) else { continue };
        let got = backing.verify().unwrap();
        assert_eq!(got.mib_bytes + got.kib_bytes, BYTES);
        assert_eq!(got.kib_bytes, pages.broken_blocks(32) << 21);
        if let Some(placed) = backing.placed() {
            assert_eq!(placed.blocks, 32);
            if backing.source == Source::Transparent {
                assert_eq!(placed.contiguous, 32, "a broken block stays where it is");
            }
        }
    }
}

#[test]
fn an_arm_that_is_not_what_it_claims_is_refused() {
    let Some(mut backing) = backing(Pages::Mib) else { return };
    backing.break_block(3).unwrap();
    let refusal = backing.verify().unwrap_err();
    assert!(refusal.why.contains("62 MiB in pages of 2 MiB, 2 MiB in pages of 4 KiB"), "{refusal}");
    backing.pages = Pages::Aged(32);
    backing.verify().unwrap();
}

#[test]
fn a_part_of_a_gibibyte_is_refused() {
    let refusal = Backing::new(Pages::Gib, 1536 << 20, 1).unwrap_err();
    assert_eq!(refusal.why, "1.50 GiB is no whole number of 1-GiB pages");
}

#[test]
fn a_whole_gibibyte_is_refused_in_a_smaller_memory() {
    let refusal = Backing::new(Pages::Gib, BYTES, 1).unwrap_err();
    assert_eq!(refusal.why, "64 MiB is smaller than one 1-GiB page");
    assert!(Backing::new(Pages::Kib, 4096, 1).is_err());
}

#[test]
fn counts_the_tables_of_a_kernel() {
    let gib = 1 << 30;
    assert_eq!(Pages::Gib.kernel_tables_bytes(4 * gib), 0);
    assert_eq!(Pages::Mib.kernel_tables_bytes(4 * gib), 4 << 12);
    assert_eq!(Pages::Aged(8).kernel_tables_bytes(gib), 65 << 12);
    assert_eq!(Pages::Kib.kernel_tables_bytes(gib), 513 << 12);
}
