//! The helper's own side: reads questions until there are no more.

use std::ffi::OsStr;
use std::fs::File;
use std::io::{self, Read, Write};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::Path;
use std::time::{Duration, Instant};

use rustix::process::{Resource, Signal};
use serde::Serialize;

use super::question::{LARGEST, Program, Question, length};
use crate::cmd::why::ask::scripts;
use crate::cmd::why::ask::server::client;
use crate::cmd::why::see::file::SocketFile;
use crate::cmd::why::see::file_id;
use crate::cmd::why::see::other_name::OtherNames;
use crate::cmd::why::see::path_state::PathState;
use crate::cmd::why::{priority, resource_limit};

/// Answers on standard output what comes on standard input.
pub(crate) fn serve() -> io::Result<()> {
    resource_limit::set_memory(resource_limit::OF_A_HELPER)?;
    // What it has read of others is not to lie around in a file.
    resource_limit::lower(Resource::Core, 0)?;
    rustix::process::set_parent_process_death_signal(Some(Signal::KILL))?;
    priority::raise_as_parent();
    let mut names = OtherNames::default();
    let (mut questions, mut answers) = (io::stdin().lock(), io::stdout().lock());
    loop {
        let mut size = [0; 4];
        match questions.read_exact(&mut size) {
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(()),
            read => read?,
        }
        let size = u32::from_le_bytes(size) as usize;
        if size > LARGEST {
            return Err(io::ErrorKind::InvalidData.into());
        }
        let mut question = vec![0; size];
        questions.read_exact(&mut question)?;
        let answer = answer(&serde_json::from_slice(&question)?, &mut names)?;
        answers.write_all(&length(answer.len())?)?;
        answers.write_all(&answer)?;
        answers.flush()?;
    }
}

pub(super) fn answer(question: &Question, names: &mut OtherNames) -> io::Result<Vec<u8>> {
    match question {
        Question::Program { pid } => json(&program(*pid)),
        Question::Memory { pid, at, length } => json(&memory(*pid, *at, *length)),
        Question::File { pid, name } => json(&file_id::id_as_seen_by(*pid, name).ok()),
        Question::PathState { pid, name, bound } => json(&PathState::of(names, *pid, name, *bound)),
        Question::SocketFile { path } => {
            json(&SocketFile::look(Path::new(OsStr::from_bytes(path))))
        }
        Question::Locations { pid, show_data } => json(&scripts::locations(*pid, *show_data)),
        Question::Goroutines { pid } => json(&scripts::goroutines(*pid)),
        Question::Readers { pid, registered, millis } => {
            json(&scripts::readers(*pid, registered, in_millis(*millis)))
        }
        Question::Control { pid, control, millis } => {
            json(&client::ask(control, *pid, client::WAITS, in_millis(*millis)))
        }
        Question::Call { pid, control, number, millis } => {
            let question = client::call(*number, *millis);
            json(&client::ask(control, *pid, question.as_bytes(), in_millis(*millis)))
        }
    }
}

fn program(pid: u32) -> Option<Program> {
    const CLASS_64: u8 = 2;
    let mut file = File::open(format!("/proc/{pid}/exe")).ok()?;
    let status = file.metadata().ok()?;
    let mut start = [0; 5];
    let read = file.read_exact(&mut start);
    let is_native = read.is_ok() && (start[4] == CLASS_64) == cfg!(target_pointer_width = "64");
    Some(Program { device: status.dev(), inode: status.ino(), is_native })
}

fn memory(pid: u32, at: u64, length: usize) -> Option<Vec<u8>> {
    let mut bytes = vec![0; length.min(LARGEST / 8)];
    let memory = File::open(format!("/proc/{pid}/mem")).ok()?;
    memory.read_exact_at(&mut bytes, at).ok()?;
    (bytes.len() == length).then_some(bytes)
}

fn in_millis(millis: u64) -> Instant {
    Instant::now() + Duration::from_millis(millis.min(60_000))
}

fn json<A: Serialize>(answer: &A) -> io::Result<Vec<u8>> {
    Ok(serde_json::to_vec(answer)?)
}
