//! `cargo fuzz run client`: see `psmr::fuzz::client`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| psmr::fuzz::client(data));
