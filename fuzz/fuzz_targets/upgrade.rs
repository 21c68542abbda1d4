#![no_main]

use slm_mesh::lan::fuzzing;

libfuzzer_sys::fuzz_target!(|input: &[u8]| fuzzing::upgrade(input));
