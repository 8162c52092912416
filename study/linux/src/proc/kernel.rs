//! Modules and BPF programs: `/proc/modules`, `/proc/vmallocinfo`, `/proc/PID/fdinfo`.

#[cfg(test)]
mod tests;

/// A loaded module.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Module {
    /// Its name.
    pub name: String,
    /// The memory that it takes, code and data, in bytes.
    pub bytes: u64,
}

/// Parses `/proc/modules`.
pub fn modules(text: &str) -> Vec<Module> {
    text.lines()
        .filter_map(|line| {
            let mut words = line.split(' ');
            Some(Module { name: words.next()?.to_owned(), bytes: words.next()?.parse().ok()? })
        })
        .collect()
}

/// A BPF program, as a descriptor or the kernel's own list shows it.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Program {
    /// Its number.
    pub id: u32,
    /// The number of its type.
    pub kind: Option<u32>,
    /// Its name, up to 15 bytes.
    pub name: Option<String>,
    /// Whether it was compiled to machine code.
    pub is_jited: Option<bool>,
    /// Bytes of machine code.
    pub jited_bytes: Option<u64>,
    /// Bytes of memory that it was charged for.
    pub memlock_bytes: Option<u64>,
}

/// Parses `/proc/PID/fdinfo/FD` of a BPF program; `None` where the text is of something else. Kernels before 4.20 show
/// no number, and such a program cannot be told from another, so it gets none here.
pub fn program(fdinfo: &str) -> Option<Program> {
    let field = |name: &str| {
        fdinfo.lines().find_map(|line| {
            let (key, value) = line.split_once(':')?;
            (key == name).then(|| value.trim().parse::<u64>().ok())?
        })
    };
    Some(Program {
        id: field("prog_id")?.try_into().ok()?,
        kind: field("prog_type").and_then(|kind| kind.try_into().ok()),
        name: None,
        is_jited: field("prog_jited").map(|jited| jited != 0),
        jited_bytes: None,
        memlock_bytes: field("memlock"),
    })
}

/// Names of the types of BPF programs, by number, as the kernel's headers have them.
const KINDS: [&str; 33] = [
    "unspec",
    "socket_filter",
    "kprobe",
    "sched_cls",
    "sched_act",
    "tracepoint",
    "xdp",
    "perf_event",
    "cgroup_skb",
    "cgroup_sock",
    "lwt_in",
    "lwt_out",
    "lwt_xmit",
    "sock_ops",
    "sk_skb",
    "cgroup_device",
    "sk_msg",
    "raw_tracepoint",
    "cgroup_sock_addr",
    "lwt_seg6local",
    "lirc_mode2",
    "sk_reuseport",
    "flow_dissector",
    "cgroup_sysctl",
    "raw_tracepoint_writable",
    "cgroup_sockopt",
    "tracing",
    "struct_ops",
    "ext",
    "lsm",
    "sk_lookup",
    "syscall",
    "netfilter",
];

/// Returns the name of a type of BPF programs.
pub fn kind_name(kind: u32) -> String {
    KINDS.get(kind as usize).map_or_else(|| format!("type {kind}"), |name| (*name).to_owned())
}

/// Memory of the kernel's virtual areas, by purpose, from `/proc/vmallocinfo`.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Areas {
    /// Bytes of pages that hold machine code of BPF programs: several programs share one of them.
    pub bpf_code_bytes: u64,
    /// Bytes of pages that hold BPF programs before they are compiled.
    pub bpf_program_bytes: u64,
    /// Bytes of pages that hold modules.
    pub module_bytes: u64,
}

/// Parses `/proc/vmallocinfo`, which root alone can read.
pub fn areas(vmallocinfo: &str) -> Areas {
    let mut areas = Areas::default();
    for line in vmallocinfo.lines() {
        let mut words = line.split_whitespace();
        let (Some(_), Some(bytes), Some(caller)) = (words.next(), words.next(), words.next()) else {
            continue;
        };
        let Ok(bytes) = bytes.parse::<u64>() else { continue };
        let name = caller.split('+').next().unwrap_or(caller);
        match name {
            "bpf_jit_alloc_exec" | "bpf_prog_pack_alloc" | "alloc_new_pack" | "bpf_jit_binary_alloc" => {
                areas.bpf_code_bytes = areas.bpf_code_bytes.saturating_add(bytes);
            }
            "module_alloc" | "execmem_alloc" | "execmem_vmalloc" | "load_module" | "move_module" => {
                areas.module_bytes = areas.module_bytes.saturating_add(bytes);
            }
            name if name.starts_with("bpf_prog_") => {
                areas.bpf_program_bytes = areas.bpf_program_bytes.saturating_add(bytes);
            }
            _ => {}
        }
    }
    areas
}
