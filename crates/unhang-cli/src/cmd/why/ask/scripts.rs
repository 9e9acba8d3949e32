//! Where a process's scripts are, in whichever language it runs, and what reads its descriptors.

use std::fs;
use std::time::Instant;

use super::elf::Image;
use super::location::Location;
use super::memory::{Address, Memory, refused};
use super::reader::Reader;
use super::{go, php, program, python, thread_names};

/// More threads than run scripts anywhere.
const MOST_THREADS: usize = 4_096;

/// Where each thread of the process is that runs a script, or why that is not known. Empty: it runs
/// none in a language that is known here.
pub(crate) fn locations(pid: u32, show_data: bool) -> Result<Vec<Location>, String> {
    let memory = Memory::open(pid)?;
    let image = program::of_process(pid, &memory)?;
    if let Some(found) = in_image(pid, &memory, &image, show_data)? {
        return Ok(found);
    }
    // The library of `mod_php` and other hosts, or that of Python.
    let is_interpreter = |path: &str| {
        let name = path.rsplit('/').next().unwrap_or_default();
        let is_named = ["libphp", "libpython3"].iter().any(|begin| name.starts_with(begin));
        is_named && name.contains(".so")
    };
    let library = memory.mappings().iter().find(|mapping| is_interpreter(&mapping.path));
    let Some(library) = library else {
        return match other_means(pid) {
            Some(means) => Err(means),
            None => Ok(Vec::new()),
        };
    };
    let image = program::of_library(pid, library, &memory)?;
    Ok(in_image(pid, &memory, &image, show_data)?.unwrap_or_default())
}

/// What reads these descriptors of a Go program, each with what its epoll has for it. `None`: it is none.
pub(crate) fn readers(
    pid: u32,
    registered: &[(u32, u64)],
    until: Instant,
) -> Result<Option<Vec<Result<Reader, String>>>, String> {
    let in_time = || match Instant::now() < until {
        true => Ok(()),
        false => Err("there was more to look at than could be in time".to_owned()),
    };
    in_time()?;
    let memory = Memory::open(pid)?;
    let image = program::of_process(pid, &memory)?;
    go::readers(&memory, &image, registered, in_time)
}

/// Where those of a Go program's goroutines are that wait in its own code. Empty: there is none, or it is not
/// a Go program.
pub(crate) fn goroutines(pid: u32) -> Result<Vec<Location>, String> {
    let memory = Memory::open(pid)?;
    let image = program::of_process(pid, &memory)?;
    go::locations(&memory, &image)
}

/// How a reason begins that names the command that tells the line.
const RUNS: &str = "it runs ";

/// Whether a reason why a place is not known tells what would.
pub(crate) fn is_advice(why: &str) -> bool {
    why.starts_with(RUNS)
}

/// What tells where a program is whose language is not read here: these stop it for a moment, or need
/// a signal, and so are for somebody to choose.
fn other_means(pid: u32) -> Option<String> {
    let program = fs::read_link(format!("/proc/{pid}/exe")).ok()?;
    let name = program.file_name()?.to_str()?;
    if name == "java" {
        let threads = thread_names::of_java(pid);
        Some(format!("{RUNS}Java: `jstack {pid}` tells the line of each thread{threads}"))
    } else if name == "node" {
        Some(format!(
            "{RUNS}Node: `kill -USR1 {pid}` opens its inspector, for `node inspect -p {pid}`"
        ))
    } else if name.starts_with("ruby") {
        Some(format!("{RUNS}Ruby: `rbspy dump --pid {pid}` tells the line of each thread"))
    } else {
        None
    }
}

/// `None`: no interpreter is in this file.
fn in_image(
    pid: u32,
    memory: &Memory,
    image: &Image,
    show_data: bool,
) -> Result<Option<Vec<Location>>, String> {
    let [globals, globals_offset, sapi, sapi_offset, registry, runtime, version] =
        image.exported([
            "executor_globals",
            "executor_globals_offset",
            "sapi_globals",
            "sapi_globals_offset",
            "module_registry",
            "_PyRuntime",
            "Py_Version",
        ])?;
    if globals.is_some() || globals_offset.is_some() {
        let exports = php::Exports { globals, globals_offset, sapi, sapi_offset, registry };
        let threads = threads(pid)?;
        return php::locations(memory, image, exports, &threads, show_data).map(Some);
    }
    let Some(runtime) = runtime else { return Ok(None) };
    let told = told(memory, version)?;
    python::locations(memory, image, runtime, told, &threads(pid)?).map(Some)
}

/// Python's version: it exports it since 3.11; before, its file's name has it.
fn told(memory: &Memory, version: Option<Address>) -> Result<Option<u32>, String> {
    if let Some(version) = version {
        return memory.u32(version).map(Some);
    }
    let minor = |path: &str| {
        let name = path.rsplit('/').next()?;
        let rest = name.strip_prefix("libpython3.").or_else(|| name.strip_prefix("python3."))?;
        rest.split(|c: char| !c.is_ascii_digit()).next()?.parse::<u8>().ok()
    };
    let minor = memory.mappings().iter().find_map(|mapping| minor(&mapping.path));
    Ok(minor.map(|minor| 3 << 24 | u32::from(minor) << 16))
}

/// The kernel's numbers of a process's threads.
fn threads(pid: u32) -> Result<Vec<u32>, String> {
    let tasks = fs::read_dir(format!("/proc/{pid}/task")).map_err(|error| refused(pid, &error))?;
    let number =
        |task: std::io::Result<fs::DirEntry>| task.ok()?.file_name().to_str()?.parse().ok();
    Ok(tasks.take(MOST_THREADS).filter_map(number).collect())
}
