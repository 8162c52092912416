//! The work of CPUs. Until there are threads: the idle loop.

pub mod idle;
