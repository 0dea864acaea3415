//! `cargo fuzz run history`: see `psmr::fuzz::history`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| psmr::fuzz::history(data));
