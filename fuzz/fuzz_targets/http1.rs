#![no_main]

#[path = "../answers.rs"]
#[allow(dead_code, reason = "each target uses its own half")]
mod answers;

libfuzzer_sys::fuzz_target!(|data: &[u8]| answers::http1(data));
