//! What a call waits for on this machine, for the machine whose client waits: `unhang why` looks.

use std::io::Read;
use std::process::{Command, Stdio};
use std::sync::mpsc;
use std::time::{Duration, Instant};

use unhang::WaitReport;

/// More than a person reads; NATS takes a thousand times as much.
const LONGEST: u64 = 4096;

/// In lines, within that time. In a process of its own: a look opens many files, and may be left behind.
pub(super) fn at(report: &WaitReport, within: Duration) -> String {
    let own = std::process::id();
    let (process, descriptor) = (report.process(), report.descriptor());
    let arguments = match (process, descriptor) {
        (Some(pid), _) => vec!["--chain".to_owned(), pid.to_string()],
        (None, Some(fd)) => vec![format!("{own}:{fd}")],
        (None, None) if report.is_queued() => {
            return format!("process {own} there waits until one of its workers is free\n");
        }
        (None, None) => return format!("process {own} there does not say what it waits for\n"),
    };
    let has_it = match (process, descriptor) {
        (Some(pid), _) => format!("there process {pid} has it\n"),
        _ => format!("there process {own} has passed it to a server\n"),
    };
    match look(&arguments, within) {
        Some(text) => format!("{has_it}{text}"),
        None => format!("{has_it}what that waits for was not seen within {within:.1?}\n"),
    }
}

fn look(arguments: &[String], within: Duration) -> Option<String> {
    let until = Instant::now() + within;
    // A tenth is for its start and its end.
    let millis = within.as_millis() * 9 / 10;
    let window = (millis / 4).min(500);
    let mut child = Command::new("/proc/self/exe")
        .arg("why")
        .args(arguments)
        .arg(format!("--for={window}ms"))
        .arg(format!("--deadline={}ms", (millis - window).max(1)))
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .ok()?;
    let stdout = child.stdout.take()?;
    let (told, tells) = mpsc::sync_channel(1);
    let reads = move || {
        let mut text = Vec::new();
        let read = stdout.take(LONGEST).read_to_end(&mut text);
        // Nobody waits any more if it came too late.
        let _ = told.send(read.map(|_| String::from_utf8_lossy(&text).into_owned()));
    };
    let reader = std::thread::Builder::new().name("unhang-look".into()).spawn(reads);
    let text = tells.recv_timeout(until.saturating_duration_since(Instant::now()));
    let _ = child.kill();
    let _ = child.wait();
    drop(reader);
    text.ok()?.ok().filter(|text| !text.is_empty())
}
