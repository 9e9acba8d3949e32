//! Numbers of users and groups by their names.
//!
//! A static program must not ask its own C library for a name: glibc then loads the modules that
//! /etc/nsswitch.conf lists, and with them the machine's C library, beside the one that is linked in. With
//! another version of glibc that crashes (2.36 with the modules of 2.41: SIGFPE). So the static
//! program asks getent(1), which is the machine's own, and without it reads the files.

use std::fs;
use std::io;
use std::process::{Command, Stdio};

use nix::unistd::{Group, User};

const IS_STATIC: bool = cfg!(target_feature = "crt-static");

/// The user's number, `None` if the machine does not know the name.
pub(crate) fn user(name: &str) -> io::Result<Option<u32>> {
    if IS_STATIC {
        return ask("getent", "passwd", name);
    }
    Ok(User::from_name(name)?.map(|user| user.uid.as_raw()))
}

/// The group's number, `None` if the machine does not know the name.
pub(crate) fn group(name: &str) -> io::Result<Option<u32>> {
    if IS_STATIC {
        return ask("getent", "group", name);
    }
    Ok(Group::from_name(name)?.map(|group| group.gid.as_raw()))
}

/// Asks `program` (getent) for one entry of `database`; if there is no such program, reads the file.
fn ask(program: &str, database: &str, name: &str) -> io::Result<Option<u32>> {
    let asked = Command::new(program).args([database, "--", name]).stdin(Stdio::null()).output();
    let output = match asked {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return read(database, name),
        asked => asked?,
    };
    match output.status.code() {
        Some(0) => {
            let text = String::from_utf8_lossy(&output.stdout);
            Ok(text.lines().next().and_then(number))
        }
        // getent(1): one or more keys could not be found.
        Some(2) => Ok(None),
        _ => {
            let said = String::from_utf8_lossy(&output.stderr);
            let failed = format!("{program} {database}: {}, {}", output.status, said.trim());
            Err(io::Error::other(failed))
        }
    }
}

fn read(database: &str, name: &str) -> io::Result<Option<u32>> {
    let text = match fs::read(format!("/etc/{database}")) {
        // An empty root knows numbers alone.
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        text => text?,
    };
    Ok(entry(&String::from_utf8_lossy(&text), name))
}

fn entry(text: &str, name: &str) -> Option<u32> {
    text.lines().find(|line| line.split(':').next() == Some(name)).and_then(number)
}

/// passwd(5) and group(5) both have the number in the third field.
fn number(line: &str) -> Option<u32> {
    line.split(':').nth(2)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Regression: the static program died of SIGFPE if a name was not in /etc/passwd and the
    /// machine had modules for users, such as those of systemd or sssd.
    #[test]
    fn the_static_program_finds_names_without_modules_of_the_c_library() {
        for program in ["getent", "a-program-that-is-not-there"] {
            assert_eq!(ask(program, "passwd", "root").unwrap(), Some(0), "{program}");
            assert_eq!(ask(program, "group", "root").unwrap(), Some(0), "{program}");
            for unknown in ["nobody-has-it", "-s", "--help", ""] {
                assert_eq!(ask(program, "passwd", unknown).unwrap(), None, "{program} {unknown}");
            }
        }
    }

    #[test]
    fn a_getent_that_fails_is_no_answer() {
        let error = ask("false", "passwd", "root").unwrap_err();
        assert!(error.to_string().contains("false passwd"), "{error}");
    }

    #[test]
    fn an_entry_is_found_by_its_whole_name() {
        let text =
            "root:x:0:0::/root:/bin/sh\nannabel:x:1:1::/:/\n+::::::\nanna:x:4711:4712::/:/\n";
        assert_eq!(entry(text, "anna"), Some(4711));
        assert_eq!(entry(text, "ann"), None);
        assert_eq!(entry(text, "+"), None);
    }
}
