//! The fixture `tests/programs/hang.rs`: every class of hang, in processes of their own.

use std::ffi::OsStr;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::sync::OnceLock;

use tempfile::TempDir;

use super::daemon::Daemon;
use super::{PATIENCE, Place, UNHANG};

/// The user that runs both the fixture and the command under test.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum User {
    /// The user that runs the tests.
    Me,
    /// Somebody without any privilege: tests need root to become one.
    Nobody,
}

const NOBODY: u32 = 65_534;

/// All users that this test run can be.
pub(crate) fn users() -> &'static [User] {
    match rustix::process::getuid().is_root() {
        true => &[User::Me, User::Nobody],
        false => &[User::Me],
    }
}

/// Where one hang is made: a directory, and the programs in it, that its user may reach.
pub(crate) struct Stage {
    players: Vec<Daemon>,
    pub(crate) place: Place,
    user: User,
}

impl Stage {
    pub(crate) fn new(user: User) -> Self {
        let place = Place::new();
        // For everybody, but with the sticky bit: `unhang serve` refuses a directory without.
        let mode = fs::Permissions::from_mode(0o1777);
        fs::set_permissions(place.directory.path(), mode).unwrap();
        Self { players: Vec::new(), place, user }
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.place.directory.path().join(name)
    }

    /// Starts a role of the fixture on the stage's socket and waits for it to say `until`.
    pub(crate) fn play(&mut self, role: &str, until: &str) -> &Daemon {
        let socket = self.place.socket.clone();
        self.play_at(role, &[&socket], until)
    }

    pub(crate) fn play_at(&mut self, role: &str, paths: &[&Path], until: &str) -> &Daemon {
        let mut command = self.command(fixture());
        command.arg(role).args(paths);
        self.players.push(Daemon::start(&mut command, until));
        self.players.last().unwrap()
    }

    /// The same in a network namespace of its own.
    pub(crate) fn play_elsewhere(&mut self, role: &str, until: &str) -> &Daemon {
        let mut command = self.command(Path::new("unshare"));
        command.arg("--net").arg(fixture()).arg(role).arg(&self.place.socket);
        self.players.push(Daemon::start(&mut command, until));
        self.players.last().unwrap()
    }

    /// Starts `unhang serve` on the stage's socket, and waits until it listens.
    pub(crate) fn serve(&mut self, arguments: &[&str]) -> &Daemon {
        let socket = self.place.socket.clone();
        self.serve_at(socket.as_os_str(), arguments)
    }

    pub(crate) fn serve_at(&mut self, name: &OsStr, arguments: &[&str]) -> &Daemon {
        let mut command = self.command(&programs().path().join("unhang"));
        command.arg("serve").arg(name).args(arguments);
        self.players.push(Daemon::start(&mut command, "listening"));
        self.players.last().unwrap()
    }

    /// Starts a program that is not ours, as the stage's user, and waits for it to say `ready`.
    pub(crate) fn run<A: AsRef<OsStr>>(&mut self, program: &Path, arguments: &[A]) -> &Daemon {
        let mut command = self.command(program);
        command.args(arguments);
        self.players.push(Daemon::start(&mut command, "ready"));
        self.players.last().unwrap()
    }

    /// The same of a program that says nothing.
    pub(crate) fn run_silent<A: AsRef<OsStr>>(&mut self, program: &Path, arguments: &[A]) {
        let mut command = self.command(program);
        command.args(arguments);
        self.players.push(Daemon::spawn(&mut command));
    }

    /// Starts one that will not get as far as to say that it is ready.
    pub(crate) fn play_in_vain(&mut self, role: &str) {
        let mut command = self.command(fixture());
        command.arg(role).arg(&self.place.socket);
        self.players.push(Daemon::spawn(&mut command));
    }

    /// The player that was started as the nth.
    pub(crate) fn player(&self, nth: usize) -> &Daemon {
        &self.players[nth]
    }

    pub(crate) fn player_mut(&mut self, nth: usize) -> &mut Daemon {
        &mut self.players[nth]
    }

    /// `unhang why` with these arguments.
    pub(crate) fn why<A: AsRef<OsStr>>(&self, arguments: &[A]) -> Output {
        self.unhang().arg("why").args(arguments).stdin(Stdio::null()).output().unwrap()
    }

    /// Not before all others: several tests look at a time, and would keep the players of each other from a processor.
    pub(crate) fn unhang(&self) -> Command {
        let mut command = self.command(Path::new("nice"));
        command.args(["-n", "1"]).arg(programs().path().join("unhang"));
        command
    }

    fn command(&self, program: &Path) -> Command {
        let mut command = Command::new(program);
        if self.user == User::Nobody {
            command.uid(NOBODY).gid(NOBODY);
        }
        command
    }
}

impl Drop for Stage {
    /// The last to come first, so that no client sees its server go.
    fn drop(&mut self) {
        while self.players.pop().is_some() {}
    }
}

/// A copy of a program, where every user may start it.
pub(crate) fn shared(program: &Path) -> PathBuf {
    let copy = programs().path().join(program.file_name().unwrap());
    copy_program(program, &copy);
    copy
}

/// The command under test, where every user may start it.
pub(crate) fn unhang() -> PathBuf {
    programs().path().join("unhang")
}

/// Copies of the programs, where every user may start them.
fn programs() -> &'static TempDir {
    static PROGRAMS: OnceLock<TempDir> = OnceLock::new();
    PROGRAMS.get_or_init(|| {
        let directory = TempDir::new().unwrap();
        fs::set_permissions(directory.path(), fs::Permissions::from_mode(0o755)).unwrap();
        copy_program(UNHANG.as_ref(), &directory.path().join("unhang"));
        copy_program(&built(), &directory.path().join("hang"));
        directory
    })
}

/// By another process: the children that other tests start meanwhile would inherit a descriptor of
/// ours that is open for writing, and while one is, a program cannot be started.
pub(crate) fn copy_program(from: &Path, to: &Path) {
    let status = Command::new("cp").arg(from).arg(to).status().unwrap();
    assert!(status.success(), "cp {} {}", from.display(), to.display());
}

pub(crate) fn fixture() -> &'static Path {
    static FIXTURE: OnceLock<PathBuf> = OnceLock::new();
    FIXTURE.get_or_init(|| programs().path().join("hang"))
}

/// The fixture is an example to Cargo, which builds those for `cargo test`, but not for `cargo test --test it`.
fn built() -> PathBuf {
    let profile = Path::new(UNHANG).parent().unwrap();
    let program = profile.join("examples/hang");
    let sources = ["tests/programs/hang.rs", "tests/programs/hang/own.rs"];
    let sources = sources.map(|file| Path::new(env!("CARGO_MANIFEST_DIR")).join(file));
    let changed = |file: &Path| file.metadata().and_then(|file| file.modified()).ok();
    if sources.iter().any(|source| changed(&program) < changed(source)) {
        let profile = match profile.file_name().and_then(OsStr::to_str) {
            Some("release") => "release",
            _ => "dev",
        };
        let status = Command::new(env!("CARGO"))
            .args(["build", "--package", "unhang-cli", "--example", "hang", "--profile", profile])
            .status()
            .unwrap();
        assert!(status.success(), "the fixture is not built, within {PATIENCE:?} or at all");
    }
    program
}
