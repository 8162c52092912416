//! Studies for tests, made of invented but realistic numbers.

mod figures;

use std::collections::BTreeMap;

use rhumb_method::{Effect, Stopped};

use crate::schema::*;

/// Random numbers that are the same in each run.
pub(crate) struct Dice(u64);

impl Dice {
    pub(crate) fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1)
    }

    /// Returns a number from 0 up to 1.
    pub(crate) fn flat(&mut self) -> f64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 11) as f64 / (1u64 << 53) as f64
    }

    /// Returns a number of about the normal distribution.
    pub(crate) fn bell(&mut self) -> f64 {
        (0..12).map(|_| self.flat()).sum::<f64>() - 6.0
    }
}

/// Returns a study without any result.
pub(crate) fn empty(kind: Kind) -> Study {
    Study {
        schema: SCHEMA.into(),
        version: VERSION,
        program: "rhumb-study 0.1.0".into(),
        kind,
        command: vec!["rhumb-study".into(), kind.to_string(), "--quick".into()],
        began_unix_s: 1_795_828_000,
        took_s: 163.0,
        seed: 1,
        ending: Ending::Whole,
        machine: machine("small VM"),
        noise: Some(Noise {
            spread: 0.013,
            steal: Some(0.002),
            hopeless: false,
            verdict: "The same work took from 0.9 % less to 1.1 % more time than its median; effects of 1 % can be seen."
                .into(),
        }),
        controls: Vec::new(),
        comparisons: Vec::new(),
        curves: Vec::new(),
        bars: Vec::new(),
        maps: Vec::new(),
        tables: Vec::new(),
        omissions: Vec::new(),
        notes: Vec::new(),
    }
}

/// Returns a machine's facts.
pub(crate) fn machine(name: &str) -> Machine {
    let tlb = |level, kind, page_bytes: &[u64], entries, ways| Tlb {
        level,
        kind,
        page_bytes: page_bytes.to_vec(),
        entries,
        ways,
        source: "CPUID leaf 18H".into(),
    };
    Machine {
        name: name.into(),
        cpu: "Intel(R) Xeon(R) Processor @ 2.80GHz".into(),
        cpu_id: "GenuineIntel family 6 model 143 stepping 8".into(),
        cpus: 2,
        nodes: 1,
        memory_bytes: 24 << 30,
        kernel: "Linux 6.18.5".into(),
        virtualised: Some("KVM".into()),
        tlbs: vec![
            tlb(1, TlbKind::Data, &[4096], 96, Some(6)),
            tlb(1, TlbKind::Code, &[4096, 2 << 20], 256, Some(8)),
            tlb(2, TlbKind::Shared, &[4096, 2 << 20], 2048, Some(16)),
        ],
        mitigations: BTreeMap::from([
            ("meltdown".into(), "Not affected".into()),
            (
                "spectre_v2".into(),
                "Mitigation: Enhanced / Automatic IBRS; IBPB: conditional; RSB filling; BHI: SW loop".into(),
            ),
            ("mds".into(), "Not affected".into()),
        ]),
        settings: BTreeMap::from([
            ("transparent huge pages".into(), "madvise".into()),
            (
                "command line".into(),
                "quiet root=/dev/vda1 transparent_hugepage=madvise mitigations=auto".into(),
            ),
        ]),
        load: Some([0.02, 0.64, 2.08]),
    }
}

/// Returns a comparison whose true ratio is `ratio`, in samples that vary by `spread`.
pub(crate) fn comparison(id: &str, ratio: f64, spread: f64, rounds: usize) -> Comparison {
    let seed = id.bytes().fold(7u64, |sum, byte| sum.wrapping_mul(31).wrapping_add(byte.into()));
    let mut dice = Dice::new(seed);
    let base = 40.0 + 400.0 * dice.flat();
    let mut baseline_samples = Vec::new();
    let mut arm_samples = Vec::new();
    for _ in 0..rounds {
        let drift = 1.0 + 0.02 * dice.bell();
        baseline_samples.push(base * drift * (spread * dice.bell()).exp());
        arm_samples.push(base * ratio * drift * (spread * dice.bell()).exp());
    }
    let effect = Effect::of(&baseline_samples, &arm_samples, 0.95);
    Comparison {
        id: id.into(),
        family: "Direct map in pages of 4 KiB".into(),
        workload: id.replace('/', ", "),
        baseline: "1-GiB pages".into(),
        arm: "4-KiB pages".into(),
        conditions: BTreeMap::new(),
        unit: "ns".into(),
        baseline_samples,
        arm_samples,
        effect,
        stopped: Stopped::Precise,
    }
}

/// Returns a control.
pub(crate) fn control(kind: ControlKind, passed: bool) -> Control {
    let (id, ratio, verdict) = match (kind, passed) {
        (ControlKind::Positive, true) => (
            "control/chase",
            1.41,
            "A chase over 2 GiB took 41 % longer in pages of 4 KiB than in pages of 2 MiB, as it must",
        ),
        (ControlKind::Positive, false) => (
            "control/chase",
            1.0,
            "A chase over 2 GiB took as long in pages of 4 KiB as in pages of 2 MiB, so this study can see no effect of the TLB",
        ),
        (ControlKind::Negative, true) => {
            ("control/same", 1.0, "The same against the same showed no effect, as it must")
        }
        (ControlKind::Negative, false) => (
            "control/same",
            1.08,
            "The same against the same showed an effect of 8 %, so the others are not to be trusted",
        ),
    };
    let mut comparison = comparison(id, ratio, 0.01, 12);
    comparison.family = "Controls".into();
    Control { kind, comparison, passed, verdict: verdict.into() }
}

/// Returns the two controls, passed.
pub(crate) fn controls() -> Vec<Control> {
    vec![control(ControlKind::Positive, true), control(ControlKind::Negative, true)]
}

/// Returns a study of Rhumb's memory core in a process.
pub(crate) fn hosted() -> Study {
    let mut study = empty(Kind::Hosted);
    study.controls = controls();
    let workloads = [
        ("page-cache/64b", "random reads of 64 B from cached pages", 1.18),
        ("page-cache/4k", "random reads of 4 KiB from cached pages", 1.034),
        ("slab/walk", "walk over objects of a slab", 1.09),
        ("hash/lookup", "look-ups in a hash table", 1.12),
        ("radix/lookup", "look-ups in a radix tree", 1.02),
        ("pipe/copy", "copies as of a pipe", 1.002),
        ("zero/4k", "zeroing of pages", 0.999),
        ("kv/store", "a key-value store", 1.06),
    ];
    for (arm, name, family, part) in [
        ("4k", "4-KiB pages", "Direct map in pages of 4 KiB", 1.0),
        ("2m", "2-MiB pages", "Direct map in pages of 2 MiB", 0.12),
        ("aged", "1 in 10 blocks broken", "Aged direct map", 0.15),
    ] {
        for (id, workload, ratio) in workloads {
            for (rival, suffix) in [("none", ""), ("64 MiB in user space", "+user")] {
                let ratio = 1.0 + (ratio - 1.0) * part * if suffix.is_empty() { 1.0 } else { 0.7 };
                let mut one = comparison(&format!("{id}/{arm}{suffix}"), ratio, 0.012, 24);
                one.family = family.into();
                one.arm = name.into();
                one.workload = workload.into();
                one.conditions = BTreeMap::from([("second working set".into(), rival.into())]);
                study.comparisons.push(one);
            }
        }
    }
    study.adjust();
    study.curves = vec![figures::ladder()];
    study.bars = vec![figures::tables_memory()];
    study.omissions = vec![Omission {
        part: "huge pages of 1 GiB".into(),
        why: "The kernel has reserved none, and reserving them now needs root".into(),
        remedy: "Boot with hugepagesz=1G hugepages=4, or run as root".into(),
    }];
    study.notes = vec!["Transparent huge pages back 98 % of the map of 2-MiB pages, by smaps.".into()];
    study
}

/// Returns a study of the running kernel's own map.
pub(crate) fn linux() -> Study {
    let mut study = empty(Kind::Linux);
    study.controls = controls();
    for (id, workload, ratio, spread) in [
        ("linux/pread/64b", "pread of 64 B from random cached pages", 1.012, 0.02),
        ("linux/pread/4k", "pread of 4 KiB from random cached pages", 1.004, 0.02),
        ("linux/pipe", "4 KiB through a pipe", 1.0, 0.03),
        ("linux/unix", "4 KiB through a UNIX socket", 1.003, 0.03),
        ("linux/stat", "stat over 100,000 inodes", 1.021, 0.015),
        ("linux/fork", "fork and exit", 1.0, 0.05),
        ("linux/fault", "page faults of new memory", 0.995, 0.02),
        ("linux/loopback", "1 KiB there and back over loopback TCP", 1.001, 0.04),
    ] {
        let mut one = comparison(id, ratio, spread, 30);
        one.family = "System calls, after 10 % of the map were broken".into();
        one.workload = workload.into();
        one.baseline = "before".into();
        one.arm = "after".into();
        study.comparisons.push(one);
    }
    study.adjust();
    study.curves = vec![figures::transition()];
    study.maps = figures::maps();
    study.bars = vec![figures::tables_memory()];
    study.tables = vec![figures::counters()];
    study.omissions = vec![
        Omission {
            part: "redis-benchmark".into(),
            why: "The program is not installed".into(),
            remedy: "Install it: apt install redis-tools redis-server".into(),
        },
        Omission {
            part: "hardware counters".into(),
            why: "This virtual machine shows no performance-monitoring unit".into(),
            remedy: "Run on bare metal, or ask the host for a virtual PMU".into(),
        },
    ];
    study.notes = vec!["The change of the map lasts until this machine is booted anew.".into()];
    study
}

/// Returns a study of the holders.
pub(crate) fn who() -> Study {
    let mut study = empty(Kind::Who);
    study.noise = None;
    study.took_s = 0.41;
    study.maps = vec![figures::maps().remove(2)];
    study.tables = vec![figures::holders(), figures::counters()];
    study
}

/// Returns a study of the kernel in QEMU.
pub(crate) fn kernel() -> Study {
    let mut study = empty(Kind::Kernel);
    study.noise = None;
    study.bars = vec![figures::misses(), figures::tables_memory()];
    study.curves = vec![figures::ladder()];
    study.tables = vec![figures::counters()];
    study
}

/// Returns a study with everything at its worst: five hundred comparisons, names without an end, numbers that are none.
pub(crate) fn extreme() -> Study {
    let mut study = empty(Kind::Linux);
    study.controls = controls();
    for index in 0..500 {
        let mut one =
            comparison(&format!("many/{index}"), 1.0 + 0.002 * f64::from(index % 40 - 10), 0.02, 14);
        one.family = format!("Family {}", index % 7);
        one.workload = format!(
            "workload number {index} {}",
            if index % 50 == 0 { "with_a_very_long_name_".repeat(12) } else { String::new() }
        );
        study.comparisons.push(one);
    }
    study.adjust();
    study.comparisons.push(comparison("one-round", 1.0, 0.01, 1));
    for (index, (ratio, low, high)) in
        [(0.0, 0.0, 0.0), (-5.0, 1.0, -1.0), (1e308, 1e-308, 1e308), (2.0, 3.0, 1.0)].into_iter().enumerate()
    {
        let mut one = comparison(&format!("odd-effect/{index}"), 1.0, 0.01, 14);
        let effect = one.effect.as_mut().expect("there are rounds enough");
        (effect.ratio, effect.low, effect.high, effect.adjusted, effect.p, effect.p_adjusted) =
            (ratio, low, high, None, 0.0, 0.0);
        study.comparisons.push(one);
    }
    let mut odd = comparison("odd", 1.0, 0.01, 5);
    odd.arm_samples = vec![f64::NAN, f64::INFINITY, -1.0, 0.0, 1e308];
    odd.effect = None;
    study.comparisons.push(odd);
    study.curves = vec![figures::odd_curve(), figures::empty_curve()];
    study.bars = vec![figures::odd_bars()];
    study.maps = figures::odd_maps();
    study.tables = vec![figures::long_table(), figures::empty_table()];
    study.machine = Machine { name: HOSTILE.into(), ..Machine::default() };
    study.notes = vec![HOSTILE.repeat(40)];
    study.noise = Some(Noise { spread: f64::NAN, steal: None, hopeless: true, verdict: HOSTILE.into() });
    study.ending = Ending::Interrupted(HOSTILE.into());
    study
}

/// A text that would be a program if it were not escaped.
pub(crate) const HOSTILE: &str =
    "</script><script>alert(1)</script><img src=x onerror=alert(2)>\"'&\u{1b}[31m";
