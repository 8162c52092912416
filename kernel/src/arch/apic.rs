//! The local APIC: interrupts between CPUs, the timer, end of interrupt.
//!
//! Two register files, one interface: xAPIC through one uncached page that the kernel map shows, or x2APIC through
//! MSRs. Every CPU uses the same one: [`choose_mode`] decides. `rhumb_smp::apic` knows the values to write, and their
//! order.
//!
//! Why not a crate: the one that exists masks the NMI pins, fixes vectors at construction and depends on unmaintained
//! crates. Source: Intel SDM volume 3, chapter 12.

use core::arch::x86_64::__cpuid_count;
use core::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};

use rhumb_machine::{PhysAddr, VirtAddr};
use rhumb_smp::apic::{Input, MASKED, ModeQuestion, Register, Registers, Vectors, set_up};
use x86_64::instructions::interrupts::without_interrupts;
use x86_64::registers::model_specific::Msr;

use super::features::features;
use super::idt::vector;

const IA32_APIC_BASE: u32 = 0x1b;
const BASE_X2APIC: u64 = 1 << 10;
const BASE_ENABLE: u64 = 1 << 11;
const BASE_ADDRESS: u64 = 0x000f_ffff_ffff_f000;
const IA32_TSC_DEADLINE: u32 = 0x6e0;
const X2APIC_MSRS: u32 = 0x800;

const TIMER_DEADLINE: u32 = 2 << 17;
const DELIVERY_PENDING: u32 = 1 << 12;
const LEVEL_ASSERT: u32 = 1 << 14;
const ALL_BUT_SELF: u32 = 3 << 18;
const MODE_NMI: u32 = 4 << 8;
const MODE_INIT: u32 = 5 << 8;
const MODE_STARTUP: u32 = 6 << 8;
/// A command leaves within microseconds; one that has not after so many looks never will.
const MOST_LOOKS: u32 = 10_000_000;

const VECTORS: Vectors =
    Vectors { timer: vector::TIMER, error: vector::APIC_ERROR, spurious: vector::SPURIOUS };

/// Whether MSRs are used. Fixed by [`choose_mode`].
static X2APIC: AtomicBool = AtomicBool::new(false);

/// Tells whether the APICs are programmed through MSRs.
pub fn is_x2apic() -> bool {
    X2APIC.load(Relaxed)
}

/// Decides for all CPUs in which mode their APICs run: the mode that the firmware left, unless APIC ids need the other
/// one, or the command line asks for it. `highest_id` is the highest of the CPUs that can be started. Once, at boot,
/// before anything else here.
pub fn choose_mode(highest_id: u32, opts_out: bool, is_wanted: bool) {
    let has_x2apic = features().x2apic;
    let question =
        ModeQuestion { has_x2apic, is_on: base() & BASE_X2APIC != 0, opts_out, is_wanted, highest_id };
    X2APIC.store(question.wants_x2apic(), Relaxed);
    if is_wanted && !is_x2apic() {
        log::warn!("x2apic: this CPU has none; going on with its xAPIC");
    }
}

fn base() -> u64 {
    // SAFETY: the MSR exists on every CPU with a local APIC, and every 64-bit CPU has one.
    unsafe { Msr::new(IA32_APIC_BASE).read() }
}

/// Where the xAPIC page is mapped; 0 while x2APIC is used or nothing is mapped yet.
static PAGE: AtomicU64 = AtomicU64::new(0);

/// Returns the physical address of the xAPIC page, for the kernel map, or `None` where MSRs are used.
pub fn page_to_map() -> Option<PhysAddr> {
    (!is_x2apic()).then(|| PhysAddr::new(base() & BASE_ADDRESS))
}

/// Tells where the kernel map shows the xAPIC page.
pub fn set_page(page: VirtAddr) {
    PAGE.store(page.get(), Relaxed);
}

fn read(register: Register) -> u32 {
    if is_x2apic() {
        // SAFETY: x2APIC mode is on since `enable`, and the enumeration holds registers that exist there and can be
        // read.
        unsafe { Msr::new(X2APIC_MSRS + register as u32).read() as u32 }
    } else {
        // SAFETY: the page is mapped, uncached, since before `enable`; registers are 32 bits wide at multiples of 16.
        unsafe {
            VirtAddr::new(PAGE.load(Relaxed)).plus(register as u64 * 16).as_ptr::<u32>().read_volatile()
        }
    }
}

fn write(register: Register, value: u32) {
    if is_x2apic() {
        // SAFETY: in x2APIC mode the MSRs are there, and each value is valid for its register.
        unsafe { Msr::new(X2APIC_MSRS + register as u32).write(u64::from(value)) }
    } else {
        // SAFETY: the page is mapped, uncached, since before `enable`; registers are 32 bits wide at multiples of 16,
        // and each value is valid for its register.
        unsafe {
            VirtAddr::new(PAGE.load(Relaxed))
                .plus(register as u64 * 16)
                .as_mut_ptr::<u32>()
                .write_volatile(value)
        }
    }
}

/// The registers of the calling CPU's APIC.
struct Here;

impl Registers for Here {
    fn read(&mut self, register: Register) -> u32 {
        read(register)
    }

    fn write(&mut self, register: Register, value: u32) {
        write(register, value);
    }
}

/// Turns this CPU's APIC on, in the mode that was chosen, with its timer masked and with `inputs`.
pub fn enable(inputs: [Input; 2]) {
    let found = base();
    let mut register = Msr::new(IA32_APIC_BASE);
    // SAFETY: the enable bit, and x2APIC mode only where CPUID has it. From x2APIC mode the only way leads through off.
    unsafe {
        if found & BASE_X2APIC != 0 && !is_x2apic() {
            register.write(found & BASE_ADDRESS);
        }
        let kept = if is_x2apic() { found } else { found & !BASE_X2APIC };
        register.write(kept | BASE_ENABLE);
        if is_x2apic() {
            register.write(kept | BASE_ENABLE | BASE_X2APIC);
        }
    }
    set_up(&mut Here, VECTORS, inputs);
}

/// Returns this CPU's number on the interrupt bus, by CPUID: before its APIC is on, and before it is mapped.
pub fn id_by_cpuid() -> u32 {
    if __cpuid_count(0, 0).eax >= 0xb {
        let topology = __cpuid_count(0xb, 0);
        if topology.ebx != 0 {
            return topology.edx;
        }
    }
    __cpuid_count(1, 0).ebx >> 24
}

/// Returns this CPU's number on the interrupt bus.
pub fn id() -> u32 {
    let id = read(Register::Id);
    if is_x2apic() { id } else { id >> 24 }
}

/// Tells the APIC that the interrupt in service has been handled.
pub fn end_of_interrupt() {
    write(Register::EndOfInterrupt, 0);
}

/// Tells whether this CPU's APIC interrupts when it finds an error.
#[cfg_attr(not(feature = "lab"), expect(dead_code, reason = "only a test asks"))]
pub fn tells_errors() -> bool {
    read(Register::ErrorVector) & MASKED == 0
}

/// Reads and clears the error bits.
pub fn take_errors() -> u32 {
    rhumb_smp::apic::take_errors(&mut Here)
}

/// Makes all stores visible before an MSR write that follows: writes to the APIC's registers and to the TSC deadline do
/// not serialise. MFENCE alone orders loads and stores only, and WRMSR is neither; LFENCE holds it back until MFENCE is
/// done (SDM volume 3, 12.12.3).
fn order_before_msr() {
    // SAFETY: both fences belong to SSE2, which every 64-bit CPU has, and touch no SSE register.
    unsafe { core::arch::asm!("mfence", "lfence", options(nostack, preserves_flags)) };
}

/// Sends a command; in xAPIC mode waits until the previous one has left.
fn command(destination: u32, value: u32) {
    if is_x2apic() {
        order_before_msr();
        // SAFETY: one 64-bit register in this mode.
        unsafe {
            Msr::new(X2APIC_MSRS + Register::Command as u32)
                .write(u64::from(destination) << 32 | u64::from(value));
        }
        return;
    }
    // Two halves: nothing else on this CPU may come in between.
    without_interrupts(|| {
        for _ in 0..MOST_LOOKS {
            if read(Register::Command) & DELIVERY_PENDING == 0 {
                break;
            }
            core::hint::spin_loop();
        }
        write(Register::CommandHigh, destination << 24);
        write(Register::Command, value);
    });
}

/// Tells whether a command can name the CPU with this APIC id.
pub fn can_address(id: u32) -> bool {
    rhumb_smp::apic::can_address(id, is_x2apic())
}

/// Interrupts the CPU with this APIC id.
pub fn send(destination: u32, vector: u8) {
    command(destination, LEVEL_ASSERT | u32::from(vector));
}

/// Interrupts every other CPU.
pub fn send_to_others(vector: u8) {
    command(0, ALL_BUT_SELF | LEVEL_ASSERT | u32::from(vector));
}

/// Sends the CPU with this APIC id a non-maskable interrupt.
pub fn send_nmi(destination: u32) {
    command(destination, LEVEL_ASSERT | MODE_NMI);
}

/// Resets the CPU with this APIC id: it then waits for [`send_startup`].
pub fn send_init(destination: u32) {
    command(destination, LEVEL_ASSERT | MODE_INIT);
}

/// Starts a reset CPU in real mode at physical address `page * 4096`.
pub fn send_startup(destination: u32, page: u8) {
    command(destination, LEVEL_ASSERT | MODE_STARTUP | u32::from(page));
}

/// Starts the timer's countdown from `count` without an interrupt, for calibration.
pub fn start_countdown(count: u32) {
    write(Register::TimerVector, MASKED | u32::from(vector::TIMER));
    write(Register::TimerInitial, count);
}

/// Returns the rest of the countdown.
pub fn countdown() -> u32 {
    read(Register::TimerCurrent)
}

/// Arms one timer interrupt on this CPU after `count` timer ticks; 0 disarms it.
pub fn arm_after(count: u32) {
    write(Register::TimerVector, u32::from(vector::TIMER));
    write(Register::TimerInitial, count);
}

/// Arms one timer interrupt on this CPU once its TSC reaches `deadline`. Only with `features().tsc_deadline`.
pub fn arm_at(deadline: u64) {
    write(Register::TimerVector, TIMER_DEADLINE | u32::from(vector::TIMER));
    // The mode change comes before the deadline (SDM volume 3, 12.5.4.1).
    order_before_msr();
    // SAFETY: the MSR exists by CPUID.
    unsafe { Msr::new(IA32_TSC_DEADLINE).write(deadline) };
}
