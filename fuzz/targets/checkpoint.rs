//! `cargo fuzz run checkpoint`: see `psmr::fuzz::checkpoint`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| psmr::fuzz::checkpoint(data));
