//! The deterministic core: every rule of the mesh, and no I/O.
pub mod turn;
