//! `cargo fuzz run wire`: see `psmr::fuzz::wire`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| psmr::fuzz::wire(data));
