//! Curves, bars, maps and tables for tests.

use super::{Dice, HOSTILE};
use crate::schema::*;

fn cells(row: &[&str]) -> Vec<Cell> {
    let cell = |text: &&str| match text.parse() {
        Ok(number) => Cell::Number(number),
        Err(_) if text.is_empty() => Cell::Unknown(()),
        Err(_) => Cell::Text((*text).into()),
    };
    row.iter().map(cell).collect()
}

fn table(id: &str, title: &str, columns: &[(&str, &str)], rows: Vec<Vec<Cell>>, caption: &str) -> Table {
    let columns = columns.iter().map(|(name, unit)| Column::new(*name, *unit)).collect();
    Table { id: id.into(), title: title.into(), columns, rows, caption: caption.into() }
}

pub(super) fn ladder() -> Curve {
    let mut dice = Dice::new(3);
    let mut line = |name: &str, reach: f64, walk: f64| Series {
        name: name.into(),
        points: (15..31)
            .map(|power| {
                let x = f64::from(1 << power) / 1024.0;
                let cache = 2.0 + 80.0 / (1.0 + (-(f64::from(power) - 25.0)).exp());
                let y = cache + walk / (1.0 + (reach / x).powi(2)) + 0.6 * dice.flat();
                Point { x, y, low: y * 0.97, high: y * 1.04 }
            })
            .collect(),
    };
    Curve {
        id: "tlb-ladder".into(),
        title: "Time of a load over the working set".into(),
        x_label: "working set, KiB".into(),
        y_label: "ns for each load".into(),
        x_by_powers: true,
        series: vec![
            line("4-KiB pages", 8192.0, 46.0),
            line("2-MiB pages", 4e6, 30.0),
            line("1-GiB pages", 4e9, 10.0),
        ],
        caption: "Each rise is the end of a cache: of data, or of translations".into(),
    }
}

pub(super) fn transition() -> Curve {
    let line = |name: &str, start: f64, each: f64| Series {
        name: name.into(),
        points: (0..16)
            .map(|cpus| {
                let y = start + each * f64::from(cpus);
                Point { x: f64::from(cpus), y, low: y * 0.93, high: y * 1.08 }
            })
            .collect(),
    };
    Curve {
        id: "transition".into(),
        title: "Time to populate a secret page".into(),
        x_label: "other CPUs that are busy".into(),
        y_label: "ns for each page".into(),
        x_by_powers: false,
        series: vec![
            line("in a block that must split", 11_800.0, 310.0),
            line("in a block that is split", 10_100.0, 260.0),
            line("an ordinary page", 1_700.0, 22.0),
        ],
        caption: "Each page out of the map makes every other CPU flush its TLB".into(),
    }
}

pub(super) fn misses() -> Bars {
    let bar = |name: &str, values: [f64; 3]| Bar { name: name.into(), values: values.to_vec() };
    Bars {
        id: "tlb-misses".into(),
        title: "TLB misses for 1,000 system calls".into(),
        unit: "misses".into(),
        parts: vec!["kernel data".into(), "kernel code".into(), "user".into()],
        bars: vec![
            bar("directmap=1g", [110.0, 420.0, 2310.0]),
            bar("directmap=2m", [390.0, 420.0, 2350.0]),
            bar("directmap=4k", [2480.0, 425.0, 2490.0]),
            bar("aged, then healed", [160.0, 421.0, 2312.0]),
        ],
        caption: "Small pages of the map cost kernel data; code and user memory hardly notice".into(),
    }
}

pub(super) fn tables_memory() -> Bars {
    let bar = |name: &str, value: f64| Bar { name: name.into(), values: vec![value] };
    Bars {
        id: "table-memory".into(),
        title: "Memory of the map's tables".into(),
        unit: "bytes".into(),
        parts: vec!["tables".into()],
        bars: vec![
            bar("1-GiB pages", 20_480.0),
            bar("2-MiB pages", 118_784.0),
            bar("4-KiB pages", 50_450_432.0),
        ],
        caption: "".into(),
    }
}

pub(super) fn maps() -> Vec<MemoryMap> {
    let gib = 1u64 << 30;
    let place = |start: u64, bytes: u64, page_bytes| Extent { start: Some(start), bytes, page_bytes };
    let mut before =
        vec![place(0, 640 << 10, Some(4096)), place(1 << 20, (3 * gib) - (1 << 20), Some(2 << 20))];
    before.push(place(4 * gib, 21 * gib, Some(gib)));
    let mut after = before.clone();
    after.pop();
    for block in 4..25 {
        let start = block * gib;
        match block {
            5 | 9 => after.extend((0..512).map(|part| {
                let page = if part % 3 == 0 { None } else { Some(4096) };
                place(start + (part << 21), 2 << 20, page)
            })),
            10..13 => after.push(place(start, gib, Some(2 << 20))),
            _ => after.push(place(start, gib, Some(gib))),
        }
    }
    let sums = |page, bytes| Extent { start: None, bytes, page_bytes: Some(page) };
    let map = |moment: &str, extents, source: &str| MemoryMap {
        moment: moment.into(),
        extents,
        source: source.into(),
    };
    vec![
        map("before", before, "/sys/kernel/debug/page_tables/kernel"),
        map("after 10 % were broken", after, "/sys/kernel/debug/page_tables/kernel"),
        map("now", vec![sums(4096, 600 << 20), sums(2 << 20, 5 * gib), sums(gib, 18 * gib)], "/proc/meminfo"),
    ]
}

pub(super) fn counters() -> Table {
    let rows =
        vec![cells(&["direct_map_level2_splits", "35", "0"]), cells(&["direct_map_level3_splits", "12", ""])];
    table(
        "splits",
        "Splits of the map",
        &[("counter", ""), ("since boot", ""), ("a minute now", "")],
        rows,
        "By /proc/vmstat",
    )
}

pub(super) fn holders() -> Table {
    let columns =
        [("process", ""), ("pid", ""), ("container", ""), ("secret memory", "bytes"), ("blocks", "")];
    let rows = vec![
        cells(&["bitwarden", "4211", "", "16384", "hibernation"]),
        cells(&["vault", "991", "4026532281", "8388608", "hibernation"]),
        vec![
            Cell::Text(HOSTILE.into()),
            Cell::Number(1.0),
            Cell::Unknown(()),
            Cell::Number(0.0),
            Cell::Text("hibernation".into()),
        ],
    ];
    table(
        "holders",
        "Holders of secret memory",
        &columns,
        rows,
        "While one of them holds a descriptor, the machine cannot hibernate",
    )
}

pub(super) fn odd_curve() -> Curve {
    let point = |x, y| Point { x, y, low: y - 1.0, high: y + 1.0 };
    Curve {
        id: HOSTILE.into(),
        title: HOSTILE.into(),
        x_label: HOSTILE.into(),
        y_label: HOSTILE.into(),
        x_by_powers: true,
        series: vec![
            Series {
                name: HOSTILE.into(),
                points: vec![
                    point(0.0, 1.0),
                    point(f64::NAN, 2.0),
                    point(4.0, f64::INFINITY),
                    point(8.0, 3.0),
                ],
            },
            Series { name: "one point".into(), points: vec![point(3.0, 3.0)] },
            Series { name: "no point".into(), points: vec![] },
            Series {
                name: "upside down".into(),
                points: vec![
                    Point { x: 2.0, y: 5.0, low: 600.0, high: -600.0 },
                    Point { x: 4.0, y: 5.0, low: -1e300, high: 1e300 },
                ],
            },
        ],
        caption: HOSTILE.into(),
    }
}

pub(super) fn empty_curve() -> Curve {
    Curve { id: "empty".into(), title: "A curve without points".into(), series: vec![], ..odd_curve() }
}

pub(super) fn odd_bars() -> Bars {
    Bars {
        id: "odd".into(),
        title: HOSTILE.into(),
        unit: HOSTILE.into(),
        parts: vec![HOSTILE.into()],
        bars: vec![
            Bar { name: HOSTILE.repeat(3), values: vec![0.0, 1.0, 2.0] },
            Bar { name: "".into(), values: vec![f64::NAN] },
            Bar { name: "minus".into(), values: vec![-5.0] },
            Bar { name: "none".into(), values: vec![] },
        ],
        caption: HOSTILE.into(),
    }
}

pub(super) fn odd_maps() -> Vec<MemoryMap> {
    let map = |moment: &str, extents| MemoryMap { moment: moment.into(), extents, source: HOSTILE.into() };
    let extent = |start, bytes, page_bytes| Extent { start, bytes, page_bytes };
    vec![
        map("nothing", vec![]),
        map("zero bytes", vec![extent(Some(0), 0, Some(4096))]),
        map("beyond all", vec![extent(Some(u64::MAX), u64::MAX, Some(3)), extent(Some(0), 4096, None)]),
        map(
            "hole of 1 TiB",
            vec![extent(Some(0), 1 << 30, Some(1 << 30)), extent(Some(1 << 40), 1 << 30, Some(4096))],
        ),
        map(HOSTILE, vec![extent(None, u64::MAX, Some(u64::MAX)), extent(None, 1, Some(4096))]),
    ]
}

pub(super) fn long_table() -> Table {
    let rows = (0..400)
        .map(|row| vec![Cell::Text(format!("{HOSTILE}{row}")), Cell::Number(f64::NAN), Cell::Number(1e300)]);
    table(
        "long",
        "A long table",
        &[(HOSTILE, ""), ("number", "ns"), ("large", "bytes")],
        rows.collect(),
        HOSTILE,
    )
}

pub(super) fn empty_table() -> Table {
    table("none", "A table without rows", &[("a", ""), ("b", "")], vec![], "")
}
