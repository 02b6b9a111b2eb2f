#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| goldrush_exporter::fuzzing::damage(data));
