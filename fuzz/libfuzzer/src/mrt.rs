#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| viaduct_fuzz_targets::mrt(data));
