#![no_main]

use slm_mesh::wire::fuzzing;

libfuzzer_sys::fuzz_target!(|input: &[u8]| fuzzing::frames(input));
