//! Whether a file can be run, found out before the first client asks. `access(2)` and
//! `AT_EXECVE_CHECK` see only the permission: a missing interpreter, a carriage return, a text
//! without `#!`, another machine's program and an empty file pass both. So we read its first bytes.

use std::ffi::OsStr;
use std::fmt;
use std::fs::File;
use std::io::{self, Read};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use rustix::fs::{Access, AtFlags, CWD, StatVfsMountFlags, accessat, statvfs};

/// What the kernel reads of a file to decide how to run it: `BINPRM_BUF_SIZE` (linux/binfmts.h).
const FIRST_BYTES: u64 = 256;

/// A program that cannot be run. `Display` says why, and what to do.
#[derive(Debug)]
pub struct CannotRun {
    program: PathBuf,
    why: Unfit,
}

/// Why a program cannot be run.
#[derive(Debug)]
#[non_exhaustive]
pub enum Unfit {
    /// There is no such file.
    Missing {
        /// The value of `PATH`, if the program was looked up there.
        path: Option<String>,
    },
    /// It is a directory, a socket or a device.
    NotAFile,
    /// This user may not execute it.
    NotExecutable,
    /// Its file system is mounted `noexec`.
    NoExec,
    /// It has no bytes.
    Empty,
    /// The interpreter in its first line does not exist.
    NoInterpreter(PathBuf),
    /// Its first line ends with a carriage return, which the kernel takes for a part of the
    /// interpreter's name.
    CarriageReturn,
    /// It is a text without a `#!` line.
    NoShebang,
    /// It is built for another machine, here by name.
    OtherMachine(String),
    /// It cannot be looked at.
    Unreadable(io::Error),
}

impl CannotRun {
    pub(super) fn new(program: impl Into<PathBuf>, why: Unfit) -> Self {
        Self { program: program.into(), why }
    }

    /// Why.
    pub fn why(&self) -> &Unfit {
        &self.why
    }
}

impl fmt::Display for CannotRun {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let program = self.program.display();
        match &self.why {
            Unfit::Missing { path: Some(path) } => {
                write!(f, "{program}: no such file (looked in PATH: {path})")
            }
            Unfit::Missing { path: None } => write!(f, "{program}: no such file"),
            Unfit::NotAFile => write!(f, "{program} is not a file: expected a program"),
            Unfit::NotExecutable => {
                write!(f, "{program} may not be executed: chmod +x {program}")
            }
            Unfit::NoExec => write!(
                f,
                "{program} lies on a file system mounted noexec: move it, or name its interpreter, \
                 as in -- sh {program}"
            ),
            Unfit::Empty => write!(f, "{program} is empty: expected a program"),
            Unfit::NoInterpreter(interpreter) => write!(
                f,
                "{program}: its first line names {}, which does not exist: install it, or correct \
                 the line",
                interpreter.display()
            ),
            Unfit::CarriageReturn => {
                write!(
                    f,
                    "{program}: its first line ends with a carriage return: dos2unix {program}"
                )
            }
            Unfit::NoShebang => write!(
                f,
                "{program} is a text without a #! line: write #!/bin/sh, or -- sh {program}"
            ),
            Unfit::OtherMachine(machine) => write!(
                f,
                "{program} is built for {machine}, this machine is {}: build it for this one",
                std::env::consts::ARCH
            ),
            Unfit::Unreadable(error) => write!(f, "{program}: {error}"),
        }
    }
}

impl std::error::Error for CannotRun {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        // Its words are a part of ours.
        None
    }
}

/// Looks a program up as a shell does: a name with a slash is a path, any other is searched for in
/// `PATH`. Then checks that the kernel will run it.
pub(super) fn find(program: &OsStr) -> Result<PathBuf, CannotRun> {
    if program.as_bytes().contains(&b'/') {
        let path = std::path::absolute(program)
            .map_err(|error| CannotRun::new(program, Unfit::Unreadable(error)))?;
        return check(&path).map(|()| path);
    }
    let path = std::env::var_os("PATH").unwrap_or_default();
    let missing = || Unfit::Missing { path: Some(path.to_string_lossy().into_owned()) };
    if program.is_empty() {
        return Err(CannotRun::new(program, missing()));
    }
    let candidates = std::env::split_paths(&path).map(|directory| directory.join(program));
    let files: Vec<_> = candidates.filter(|file| file.is_file()).collect();
    // As execvp(3) does: a file that may not be executed does not end the search.
    let file = files.iter().find(|file| is_executable(file)).or(files.first());
    let Some(file) = file else { return Err(CannotRun::new(program, missing())) };
    let file = std::path::absolute(file)
        .map_err(|error| CannotRun::new(program, Unfit::Unreadable(error)))?;
    check(&file).map(|()| file)
}

/// Whether the kernel will run this file.
pub(super) fn check(program: &Path) -> Result<(), CannotRun> {
    unfit(program).map_or(Ok(()), |why| Err(CannotRun::new(program, why)))
}

fn unfit(program: &Path) -> Option<Unfit> {
    match program.metadata() {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            return Some(Unfit::Missing { path: None });
        }
        Err(error) => return Some(Unfit::Unreadable(error)),
        Ok(file) if !file.is_file() => return Some(Unfit::NotAFile),
        Ok(_) => {}
    }
    // Before the permission: on such a file system nobody has it.
    if statvfs(program).is_ok_and(|place| place.f_flag.contains(StatVfsMountFlags::NOEXEC)) {
        return Some(Unfit::NoExec);
    }
    if !is_executable(program) {
        return Some(Unfit::NotExecutable);
    }
    let mut first = Vec::new();
    match File::open(program).and_then(|file| file.take(FIRST_BYTES).read_to_end(&mut first)) {
        // A program may be executable and not readable; the kernel reads it all the same.
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied => None,
        Err(error) => Some(Unfit::Unreadable(error)),
        Ok(_) => misfit(&first),
    }
}

/// What is wrong with a program that begins with these bytes.
fn misfit(first: &[u8]) -> Option<Unfit> {
    match first {
        [] => Some(Unfit::Empty),
        [b'#', b'!', line @ ..] => bad_interpreter(line),
        [0x7f, b'E', b'L', b'F', ..] => other_machine(first).filter(|_| !others_are_run()),
        _ if is_text(first) && !others_are_run() => Some(Unfit::NoShebang),
        // The kernel may know it (binfmt-misc.rst in its documentation); if not, the first start says so.
        _ => None,
    }
}

fn bad_interpreter(line: &[u8]) -> Option<Unfit> {
    let line = line.split(|&byte| byte == b'\n').next().unwrap_or_default();
    if line.ends_with(b"\r") {
        return Some(Unfit::CarriageReturn);
    }
    let mut words = line.split(|byte| b" \t".contains(byte)).filter(|word| !word.is_empty());
    let interpreter = Path::new(OsStr::from_bytes(words.next()?));
    if !interpreter.exists() {
        return Some(Unfit::NoInterpreter(interpreter.to_owned()));
    }
    if interpreter.file_name() != Some(OsStr::new("env")) {
        return None;
    }
    // `#!/usr/bin/env python3`: env(1) looks that up itself, and fails only when it is run.
    let name =
        OsStr::from_bytes(words.find(|word| !word.starts_with(b"-") && !word.contains(&b'='))?);
    let path = std::env::var_os("PATH").unwrap_or_default();
    let is_there = name.as_bytes().contains(&b'/') && Path::new(name).exists()
        || std::env::split_paths(&path).any(|directory| directory.join(name).is_file());
    (!is_there).then(|| Unfit::NoInterpreter(name.into()))
}

/// The machine's name if an ELF header (elf(5)) is not for this one.
fn other_machine(header: &[u8]) -> Option<Unfit> {
    const E_MACHINE: usize = 18;
    let bytes = [*header.get(E_MACHINE)?, *header.get(E_MACHINE + 1)?];
    let is_big_endian = header.get(5) == Some(&2);
    let machine = if is_big_endian { u16::from_be_bytes(bytes) } else { u16::from_le_bytes(bytes) };
    // elf.h: EM_386, EM_ARM, … Those that this program may itself be built for, and the common others.
    let name = match machine {
        3 => "x86",
        8 => "mips",
        20 => "powerpc",
        21 => "powerpc64",
        22 => "s390x",
        40 => "arm",
        62 => "x86_64",
        183 => "aarch64",
        243 => "riscv64",
        258 => "loongarch64",
        // Not one that we could tell from this machine.
        _ => return None,
    };
    // These run their elders' programs.
    let runs = match std::env::consts::ARCH {
        "x86_64" => ["x86_64", "x86"],
        "aarch64" => ["aarch64", "arm"],
        own => [own, own],
    };
    (!runs.contains(&name)).then(|| Unfit::OtherMachine(name.to_owned()))
}

/// Whether something is registered to run what the kernel itself does not (`binfmt_misc`).
fn others_are_run() -> bool {
    let Ok(entries) = std::fs::read_dir("/proc/sys/fs/binfmt_misc") else { return false };
    entries
        .flatten()
        .any(|entry| ![OsStr::new("register"), OsStr::new("status")].contains(&&*entry.file_name()))
}

fn is_text(bytes: &[u8]) -> bool {
    !bytes.contains(&0)
}

fn is_executable(program: &Path) -> bool {
    accessat(CWD, program, Access::EXEC_OK, AtFlags::EACCESS).is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_header_for_another_machine_is_named_and_ours_is_not() {
        let header = |machine: u16| {
            let mut header = *b"\x7fELF\x02\x01\x01\0\0\0\0\0\0\0\0\0\x02\0\0\0";
            header[18..].copy_from_slice(&machine.to_le_bytes());
            other_machine(&header).map(|why| match why {
                Unfit::OtherMachine(name) => name,
                other => panic!("{other:?}"),
            })
        };
        assert_eq!(
            header(243).as_deref(),
            Some("riscv64").filter(|_| std::env::consts::ARCH != "riscv64")
        );
        let own = File::open(std::env::current_exe().unwrap());
        let mut first = Vec::new();
        own.unwrap().take(FIRST_BYTES).read_to_end(&mut first).unwrap();
        assert!(misfit(&first).is_none());
    }

    #[test]
    fn a_first_line_is_read_as_the_kernel_reads_it() {
        let why = |text: &[u8]| misfit(text).map(|why| format!("{why:?}"));
        assert_eq!(why(b"#!/bin/sh\nexit"), None);
        assert_eq!(why(b"#! /bin/sh -e\nexit"), None);
        assert_eq!(why(b"#!/usr/bin/env -S sh -e\nexit"), None);
        assert!(why(b"#!/bin/sh\r\n").unwrap().contains("CarriageReturn"));
        assert!(why(b"#!/no/such arg\n").unwrap().contains("/no/such"));
        assert!(why(b"#!/usr/bin/env no-such-program\n").unwrap().contains("no-such-program"));
        assert!(why(b"").unwrap().contains("Empty"));
    }
}
