#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| tailwater::fuzzing::recover_diff(data));
