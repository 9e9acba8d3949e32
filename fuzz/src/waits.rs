//! What a server answers about what it waits for: all of it is understood, or nothing.

// The command is a program, with nothing to link to.
#[allow(dead_code)]
#[path = "../../crates/unhang-cli/src/cmd/why/ask/server/waits.rs"]
mod waits;

use waits::{WaitTable, parse};

/// Takes the input for a whole answer.
pub fn waits(data: &[u8]) {
    let Some(whole) = parse(data) else { return };
    assert_eq!(parse(told(&whole).as_bytes()).as_ref(), Some(&whole));
    assert_eq!(whole.waits.len() + 1, data.iter().filter(|byte| **byte == b'\n').count());
    // The last byte ends the last line, and nothing shorter is a whole answer but at the end of one.
    for cut in 0..data.len().min(256) {
        let part = parse(&data[..cut]);
        assert!(part.is_none() || data[..cut].ends_with(b"\n"), "cut at {cut}");
        assert!(part.is_none_or(|part| whole.waits.starts_with(&part.waits)), "cut at {cut}");
    }
}

/// As a server writes it.
fn told(answer: &WaitTable) -> String {
    let mut text = format!("until {}\n", answer.until.word());
    for wait in &answer.waits {
        let (waited, left) = (wait.waited.as_millis(), wait.left.as_millis());
        text += &format!("{} {} {waited} {left}\n", wait.fd, wait.stage.word());
    }
    text
}
