//! `cargo fuzz run config`: see `psmr::fuzz::config`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| psmr::fuzz::config(data));
