//! The facts of the machine that may change a result.

mod cpu;
mod linux;

use rhumb_study_report::Machine;

/// Returns the facts of this machine, under `name`, or under its CPU's name where there is none.
///
/// A fact that cannot be had is left empty: no study fails for want of one.
pub fn machine(name: Option<&str>) -> Machine {
    let root = linux::Root::system();
    let cpu = cpu::cpu();
    let cpus = root
        .online_cpus()
        .unwrap_or_else(|| std::thread::available_parallelism().map_or(1, |n| n.get() as u32));
    let default_name = format!("{}, {cpus} CPU{}", cpu.name, if cpus == 1 { "" } else { "s" });
    Machine {
        name: name.map_or(default_name, str::to_owned),
        cpu: cpu.name,
        cpu_id: cpu.id,
        cpus,
        nodes: root.nodes(),
        memory_bytes: root.memory_bytes().unwrap_or(0),
        kernel: linux::kernel(),
        virtualised: cpu.hypervisor,
        tlbs: cpu.tlbs,
        mitigations: root.mitigations(),
        settings: root.settings(),
        load: root.load(),
    }
}
