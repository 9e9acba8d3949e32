#![no_main]
libfuzzer_sys::fuzz_target!(|data: &[u8]| unhang_fuzz::goroutines(data));
