#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| counterfill::fuzz::frames::check(input));
