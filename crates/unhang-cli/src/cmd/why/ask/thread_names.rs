//! How a program has named its threads: the kernel knows the first 15 bytes of each name.

use std::collections::BTreeMap;
use std::fs;

use crate::shell::is_hidden;

/// So many names are told; the rest are counted.
const SHOWN: usize = 8;
/// How the names of threads begin that every JVM has: those of `OpenJDK`'s compilers, collectors and services.
const OF_THE_JVM: &[&str] = &[
    "java",
    "C1 Comp",
    "C2 Comp",
    "JVMCI",
    "G1 ",
    "GC Thread",
    "Z",
    "Shenandoah",
    "VM Thread",
    "VM Peri",
    "Common-Cleaner",
    "Finalizer",
    "Monitor",
    "Notific",
    "Referen",
    "Service Thread",
    "Signal",
    "Sweeper",
    "Attach Listener",
];

/// The threads that a Java program has made itself, as the end of a sentence; empty if there is none.
pub(super) fn of_java(pid: u32) -> String {
    let tasks = fs::read_dir(format!("/proc/{pid}/task")).into_iter().flatten().flatten();
    let names = tasks.filter_map(|task| fs::read_to_string(task.path().join("comm")).ok());
    told(names.map(|name| name.trim_end().to_owned()))
}

fn told(names: impl Iterator<Item = String>) -> String {
    let is_own = |name: &String| !OF_THE_JVM.iter().any(|begin| name.starts_with(begin));
    let mut counts: BTreeMap<String, usize> = BTreeMap::new();
    for name in names.filter(is_own) {
        // A program names its threads, and is not to write to our terminal with that.
        let name = name.chars().map(|one| if is_hidden(one) { '?' } else { one }).collect();
        *counts.entry(name).or_default() += 1;
    }
    let one = |(name, count): (&String, &usize)| match count {
        1 => name.clone(),
        _ => format!("{name} ({count})"),
    };
    let shown: Vec<String> = counts.iter().take(SHOWN).map(one).collect();
    let more = counts.values().skip(SHOWN).sum::<usize>();
    match (shown.is_empty(), more) {
        (true, _) => String::new(),
        (false, 0) => format!("; its own, by the first 15 bytes: {}", shown.join(", ")),
        (false, _) => {
            format!("; its own, by the first 15 bytes: {} and {more} more", shown.join(", "))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(names: &[&str]) -> String {
        told(names.iter().map(|name| (*name).to_owned()))
    }

    #[test]
    fn a_programs_own_threads_are_told_apart_from_those_of_its_jvm() {
        assert_eq!(of(&["java", "G1 Main Marker", "VM Thread", "Reference Handl"]), "");
        let pool = ["java", "mailer", "pool-1-thread-1", "GC Thread#0", "pool-1-thread-1"];
        assert_eq!(of(&pool), "; its own, by the first 15 bytes: mailer, pool-1-thread-1 (2)");
    }

    #[test]
    fn of_many_threads_the_rest_is_counted_and_no_name_acts_on_the_terminal() {
        let names: Vec<String> = (0..30).map(|n| format!("w{n:02}")).collect();
        let text = told(names.into_iter());
        assert!(text.ends_with("w07 and 22 more"), "{text}");
        assert_eq!(of(&["a\u{202e}\u{1b}[2J"]), "; its own, by the first 15 bytes: a??[2J");
    }
}
