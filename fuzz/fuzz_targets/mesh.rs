#![no_main]

#[path = "../mesh_session.rs"]
mod mesh_session;

libfuzzer_sys::fuzz_target!(|input: &[u8]| mesh_session::mesh(input));
