//! Modules, programs and areas of recorded kernels.

use super::*;

#[test]
fn modules_are_read() {
    let text = "nf_tables 270336 0 - Live 0x0000000000000000\nkvm 1376256 1 kvm_intel, Live 0xffffffffc0a6e000 (O)\n\nbad\n";
    assert_eq!(
        modules(text),
        [
            Module { name: "nf_tables".into(), bytes: 270_336 },
            Module { name: "kvm".into(), bytes: 1_376_256 }
        ]
    );
}

#[test]
fn programs_are_read_from_descriptors() {
    // Linux 5.15, 6.1 and later; `run_time_ns` and later fields do not matter.
    let text = "pos:\t0\nflags:\t02000002\nmnt_id:\t15\nino:\t11\nprog_type:\t6\nprog_jited:\t1\nprog_tag:\t3b185187f1855c4c\nmemlock:\t4096\nprog_id:\t42\nrun_time_ns:\t0\n";
    let program = program(text).expect("a program");
    assert_eq!((program.id, program.kind, program.is_jited), (42, Some(6), Some(true)));
    assert_eq!(program.memlock_bytes, Some(4096));
    assert_eq!(kind_name(6), "xdp");
    assert_eq!(kind_name(999), "type 999");
}

#[test]
fn each_field_of_a_program_may_be_missing() {
    // Linux 4.18 shows no number.
    assert_eq!(program("pos:\t0\nprog_type:\t1\nprog_jited:\t0\nmemlock:\t4096\n"), None);
    assert_eq!(program("prog_id:\t7\n"), Some(Program { id: 7, ..Program::default() }));
    assert_eq!(program("prog_id:\t99999999999\n"), None);
    assert_eq!(program("pos:\t0\nflags:\t0100002\n"), None);
}

#[test]
fn areas_are_added_up_by_caller() {
    let text = "\
0x00000000119c3c5e-0x00000000cfc5c82c   20480 irq_init_percpu_irqstack+0xed/0x120 vmap
0x00000000a19c3c5e-0x00000000bfc5c82c 2101248 bpf_prog_pack_alloc+0x28b/0x3a0 pages=512 vmalloc N0=512
0x00000000b19c3c5e-0x00000000cfc5c82c    8192 bpf_prog_alloc_no_stats+0x39/0x230 pages=1 vmalloc N0=1
0x00000000c19c3c5e-0x00000000dfc5c82c   16384 load_module+0xe1/0x230 pages=3 vmalloc N0=3
0x1-0x2 x bpf_jit_alloc_exec+0x1/0x2
";
    assert_eq!(
        areas(text),
        Areas { bpf_code_bytes: 2_101_248, bpf_program_bytes: 8_192, module_bytes: 16_384 }
    );
}
