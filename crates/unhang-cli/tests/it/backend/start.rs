//! A program that cannot run is refused at the start, with exit code 1 and the cure; flags that contradict
//! each other with exit code 2.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::process::{Command, Output, Stdio};

use super::{script, serve};
use crate::support::programs::unable;
use crate::support::{Place, UNHANG};

fn refused(place: &Place, program: &str, expected: &str) {
    for flags in [&[][..], &["--workers", "2"][..]] {
        let arguments = [flags, &["--", program]].concat();
        let output = serve(place, &arguments).stdin(Stdio::null()).output().unwrap();
        assert_refused(&output, 1, &[expected]);
        assert!(!place.socket.exists(), "no socket before the program is known to run");
    }
}

fn assert_refused(output: &Output, code: i32, expected: &[&str]) {
    let told = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(code), "{told}");
    for part in expected {
        assert!(told.contains(part), "expected {part:?} in {told}");
    }
    assert!(output.stdout.is_empty());
}

#[test]
fn nine_programs_that_cannot_start_are_refused_with_their_cure() {
    let place = Place::new();
    let text = |name: &str, text: &str| script(&place, name, text).display().to_string();
    let path = place.directory.path().display().to_string();

    refused(&place, "no-such-program", "no-such-program: no such file (looked in PATH: ");
    refused(&place, &format!("{path}/none"), "none: no such file");
    let it = text("bad", "#!/no/such\n");
    refused(&place, &it, "bad: its first line names /no/such, which does not exist");
    let it = text("crlf", "#!/bin/sh\r\necho hi\r\n");
    refused(&place, &it, &format!("its first line ends with a carriage return: dos2unix {it}"));
    let it = text("plain", "echo hi\n");
    refused(&place, &it, &format!("is a text without a #! line: write #!/bin/sh, or -- sh {it}"));
    let it = text("empty", "");
    refused(&place, &it, "empty is empty");
    refused(&place, &path, "is not a file");
    let it = text("mode", "#!/bin/sh\n");
    fs::set_permissions(&it, fs::Permissions::from_mode(0o644)).unwrap();
    refused(&place, &it, &format!("chmod +x {it}"));
    let other = if cfg!(target_arch = "x86_64") { (183_u16, "aarch64") } else { (62, "x86_64") };
    let mut elf = fs::read("/bin/true").unwrap();
    elf[18..20].copy_from_slice(&other.0.to_ne_bytes());
    let it = script(&place, "other", &elf).display().to_string();
    let expected = format!("is built for {}, this machine is {}", other.1, std::env::consts::ARCH);
    refused(&place, &it, &expected);
}

#[test]
fn a_program_on_a_file_system_mounted_noexec_is_refused() {
    let place = Place::new();
    let mount = "mount -t tmpfs -o noexec none \"$1\" && cp /bin/true \"$1/it\" && \
                 exec \"$2\" serve \"$3\" -- \"$1/it\"";
    let directory = place.directory.path().join("noexec");
    fs::create_dir(&directory).unwrap();
    let mut command = Command::new("unshare");
    command.args(["--mount", "sh", "-c", mount, "sh"]).arg(&directory).arg(UNHANG);
    let output = command.arg(&place.socket).output().unwrap();
    if String::from_utf8_lossy(&output.stderr).contains("ermission") {
        return unable("this user may not mount");
    }
    assert_refused(&output, 1, &["mounted noexec"]);
}

#[test]
fn flags_that_contradict_each_other_are_usage_errors() {
    let contradictions: &[&[&str]] = &[
        &["--processes", "2"],
        &["--workers", "2"],
        &["--workers", "2", "--processes", "2", "--", "cat"],
        &["--frames", "bytes", "--", "cat"],
        &["--max-requests", "2", "--", "cat"],
        &["--max-memory", "1MiB", "--", "cat"],
        &["--to", "other.sock", "--", "cat"],
        &["--reply-ends", "close"],
        &["--half-close", "always", "--", "cat"],
        &["--to", "tcp:nowhere"],
        &["--to", "tcp:localhost:99999"],
        &["--to", "other.sock", "--reply-ends", "quiet"],
        &["--to", "other.sock", "--reply-ends", "quiet=0s"],
        &["--processes", "0", "--", "cat"],
        &["--workers", "0", "--", "cat"],
    ];
    let place = Place::new();
    for arguments in contradictions {
        let output = serve(&place, arguments).stdin(Stdio::null()).output().unwrap();
        assert_refused(&output, 2, &[]);
    }
    let same = place.socket.display().to_string();
    let output = serve(&place, &["--to", &same]).stdin(Stdio::null()).output().unwrap();
    assert_refused(&output, 2, &["is the socket itself"]);
}
