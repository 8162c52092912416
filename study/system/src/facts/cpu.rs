//! The CPU, as it describes itself.
//!
//! Sources: Intel SDM, volume 2, CPUID leaves 18H and 40000000H; AMD APM, volume 3, appendix E, functions 8000_0005,
//! 8000_0006 and 8000_0019. Intel's leaf 2, a list of one-byte codes, is left out: CPUs with leaf 18H point to it.

use raw_cpuid::{Associativity, CpuId, CpuIdReader, DatType};
use rhumb_study_report::{Tlb, TlbKind};

const KIB: u64 = 1 << 10;
const MIB: u64 = 1 << 20;
const GIB: u64 = 1 << 30;

/// The CPU by its own words.
#[derive(Debug)]
pub(super) struct Cpu {
    pub(super) name: String,
    pub(super) id: String,
    pub(super) hypervisor: Option<String>,
    pub(super) tlbs: Vec<Tlb>,
}

/// Asks the CPU that runs this thread.
pub(super) fn cpu() -> Cpu {
    let cpuid = CpuId::new();
    let brand = cpuid.get_processor_brand_string();
    let vendor = cpuid.get_vendor_info().map_or_else(String::new, |vendor| vendor.as_str().to_owned());
    let id = cpuid.get_feature_info().map(|info| {
        format!(
            "{vendor} family {} model {} stepping {}",
            info.family_id(),
            info.model_id(),
            info.stepping_id()
        )
    });
    let name = brand.map(|brand| brand.as_str().trim().to_owned()).filter(|name| !name.is_empty());
    Cpu {
        name: name.unwrap_or_else(|| "x86-64".to_owned()),
        id: id.unwrap_or(vendor),
        hypervisor: cpuid.get_hypervisor_info().map(|info| format!("{:?}", info.identify())),
        tlbs: tlbs(&cpuid),
    }
}

fn tlbs(cpuid: &CpuId<impl CpuIdReader>) -> Vec<Tlb> {
    let mut found = Vec::new();
    for part in cpuid.get_deterministic_address_translation_info().into_iter().flatten() {
        let kind = match part.cache_type() {
            DatType::DataTLB => TlbKind::Data,
            DatType::LoadOnly => TlbKind::Loads,
            DatType::StoreOnly => TlbKind::Stores,
            DatType::InstructionTLB => TlbKind::Code,
            DatType::UnifiedTLB => TlbKind::Shared,
            DatType::Null | DatType::Unknown => continue,
        };
        let sizes = [
            (part.has_4k_entries(), 4 * KIB),
            (part.has_2mb_entries(), 2 * MIB),
            (part.has_4mb_entries(), 4 * MIB),
            (part.has_1gb_entries(), GIB),
        ];
        let page_bytes: Vec<u64> =
            sizes.into_iter().filter(|(has, _)| *has).map(|(_, bytes)| bytes).collect();
        let entries = part.sets() * u32::from(part.ways());
        if entries == 0 || page_bytes.is_empty() {
            continue;
        }
        found.push(Tlb {
            level: part.cache_level().into(),
            kind,
            page_bytes,
            entries,
            ways: (!part.is_fully_associative()).then(|| part.ways().into()),
            source: "CPUID leaf 18H".to_owned(),
        });
    }
    if let Some(first) = cpuid.get_l1_cache_and_tlb_info() {
        let source = "CPUID function 8000_0005";
        let mut add =
            |kind, size, entries: u8, ways| push(&mut found, (1, kind, size, source), entries.into(), ways);
        add(TlbKind::Data, 4 * KIB, first.dtlb_4k_size(), first.dtlb_4k_associativity());
        add(TlbKind::Data, 2 * MIB, first.dtlb_2m_4m_size(), first.dtlb_2m_4m_associativity());
        add(TlbKind::Code, 4 * KIB, first.itlb_4k_size(), first.itlb_4k_associativity());
        add(TlbKind::Code, 2 * MIB, first.itlb_2m_4m_size(), first.itlb_2m_4m_associativity());
    }
    // The TLBs of Intel CPUs are not in this function, which both vendors have for their caches.
    if let Some(second) = cpuid.get_l2_l3_cache_and_tlb_info() {
        let source = "CPUID function 8000_0006";
        let mut add =
            |kind, size, entries: u16, ways| push(&mut found, (2, kind, size, source), entries.into(), ways);
        add(TlbKind::Data, 4 * KIB, second.dtlb_4k_size(), second.dtlb_4k_associativity());
        add(TlbKind::Data, 2 * MIB, second.dtlb_2m_4m_size(), second.dtlb_2m_4m_associativity());
        add(TlbKind::Code, 4 * KIB, second.itlb_4k_size(), second.itlb_4k_associativity());
        add(TlbKind::Code, 2 * MIB, second.itlb_2m_4m_size(), second.itlb_2m_4m_associativity());
    }
    if let Some(large) = cpuid.get_tlb_1gb_page_info() {
        let source = "CPUID function 8000_0019";
        let mut add = |level, kind, entries: u8, ways| {
            push(&mut found, (level, kind, GIB, source), entries.into(), ways)
        };
        add(1, TlbKind::Data, large.dtlb_l1_1gb_size(), large.dtlb_l1_1gb_associativity());
        add(1, TlbKind::Code, large.itlb_l1_1gb_size(), large.itlb_l1_1gb_associativity());
        add(2, TlbKind::Data, large.dtlb_l2_1gb_size(), large.dtlb_l2_1gb_associativity());
        add(2, TlbKind::Code, large.itlb_l2_1gb_size(), large.itlb_l2_1gb_associativity());
    }
    found
}

fn push(found: &mut Vec<Tlb>, of: (u32, TlbKind, u64, &str), entries: u32, ways: Associativity) {
    let (level, kind, page_bytes, source) = of;
    let ways = match ways {
        Associativity::Disabled => return,
        Associativity::DirectMapped => Some(1),
        Associativity::NWay(ways) => Some(ways.into()),
        Associativity::FullyAssociative | Associativity::Unknown => None,
    };
    if entries > 0 {
        found.push(Tlb {
            level,
            kind,
            page_bytes: vec![page_bytes],
            entries,
            ways,
            source: source.to_owned(),
        });
    }
}

#[cfg(test)]
mod tests;
