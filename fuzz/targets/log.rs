//! `cargo fuzz run log`: see `psmr::fuzz::log`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| psmr::fuzz::log(data));
