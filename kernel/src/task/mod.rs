//! What CPUs run. Until there are threads: the idle loop.

pub mod idle;
