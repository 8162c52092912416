//! CPUs and their variables.

use crate::stand_in;

/// A CPU.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct CpuId(pub(crate) usize);

/// A guard that keeps the code on its CPU.
pub trait PinCurrentCpu {
    /// That CPU.
    fn current_cpu(&self) -> CpuId;
}

/// Returns how many CPUs there are.
pub fn num_cpus() -> usize {
    stand_in::cpus()
}

/// Returns all of them.
pub fn all_cpus() -> impl Iterator<Item = CpuId> {
    (0..num_cpus()).map(CpuId)
}

/// Per-CPU variables.
pub mod local {
    use super::CpuId;
    use crate::irq::DisabledLocalIrqGuard;
    use crate::stand_in::{MAX_CPUS, Renewed, cpu_index};

    #[repr(align(128))]
    struct Padded<T>(Renewed<T>);

    /// A variable of which each CPU has its own.
    pub struct StaticCpuLocal<T: 'static>([Padded<T>; MAX_CPUS]);

    // SAFETY: `get_with` reaches this CPU's value alone, `get_on_cpu` asks for `T: Sync`.
    unsafe impl<T: 'static> Sync for StaticCpuLocal<T> {}

    impl<T: 'static> StaticCpuLocal<T> {
        /// From one value for each CPU.
        #[doc(hidden)]
        pub const fn new(values: [T; MAX_CPUS]) -> Self {
            let values = core::mem::ManuallyDrop::new(values);
            let first = (&raw const values).cast::<T>();
            let mut cells = [const { core::mem::MaybeUninit::<Padded<T>>::uninit() }; MAX_CPUS];
            let mut cpu = 0;
            while cpu < MAX_CPUS {
                // SAFETY: each value of the array is moved out once, and the array is not dropped.
                cells[cpu].write(Padded(Renewed::new(unsafe { first.add(cpu).read() })));
                cpu += 1;
            }
            // SAFETY: all cells have been written.
            Self(unsafe { core::mem::transmute_copy(&cells) })
        }

        /// Returns this CPU's value.
        #[inline]
        pub fn get_with(&'static self, _guard: &DisabledLocalIrqGuard) -> &'static T {
            // SAFETY: only this CPU's thread comes here, and the allocator's cells check borrowing themselves.
            unsafe { &*self.0[cpu_index() % MAX_CPUS].0.get() }
        }

        /// Returns the value of `cpu`.
        #[inline]
        pub fn get_on_cpu(&'static self, cpu: CpuId) -> &'static T
        where
            T: Sync,
        {
            // SAFETY: in the benchmark, a CPU's value is first reached by that CPU.
            unsafe { &*self.0[cpu.0 % MAX_CPUS].0.get() }
        }
    }
}

/// Defines per-CPU variables.
#[macro_export]
macro_rules! cpu_local {
    ($($(#[$attribute:meta])* $visibility:vis static $name:ident: $type:ty = $value:expr;)*) => {$(
        $(#[$attribute])*
        $visibility static $name: $crate::cpu::local::StaticCpuLocal<$type> =
            $crate::cpu::local::StaticCpuLocal::new([const { $value }; $crate::stand_in::MAX_CPUS]);
    )*};
}
