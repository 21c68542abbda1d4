#![no_main]

use slm_mesh::mesh::fuzzing;

libfuzzer_sys::fuzz_target!(|input: &[u8]| fuzzing::mesh(input));
