#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| tailwater::fuzzing::store_ops(data));
