//! Man pages and completions, made from the command line's own definition.
//!
//! `UNHANG_PAGES=DIRECTORY SOURCE_DATE_EPOCH=SECONDS unhang` writes `man1/`, `bash/unhang`,
//! `zsh/_unhang` and `fish/unhang.fish` below an existing directory. Two runs write the same bytes:
//! the date is the one that it was given.

use std::fs;
use std::io;
use std::path::Path;
use std::process::ExitCode;

use clap::{Arg, Command};
use clap_complete::Shell;
use clap_mangen::Man;
use clap_mangen::roff::{Roff, roman};

use crate::cmd::{Unhang, complain};
use crate::exit;

/// Writes everything below `directory`.
pub(crate) fn write(directory: &Path) -> ExitCode {
    let written = date()
        .and_then(|date| man_pages(&directory.join("man1"), &date))
        .and_then(|()| completions(directory));
    match written {
        Ok(()) => exit::DONE.into(),
        Err(error) => {
            complain("pages", format_args!("not written below {}: {error}", directory.display()));
            exit::FAILED.into()
        }
    }
}

/// The day in every page, as <https://reproducible-builds.org/specs/source-date-epoch/> passes it:
/// seconds since 1970.
fn date() -> io::Result<String> {
    let given = std::env::var("SOURCE_DATE_EPOCH").unwrap_or_default();
    let seconds = given.parse().ok().and_then(|seconds| jiff::Timestamp::from_second(seconds).ok());
    seconds.map(|time| time.strftime("%Y-%m-%d").to_string()).ok_or_else(|| {
        let said = format!("expected seconds since 1970 in SOURCE_DATE_EPOCH, got {given:?}");
        io::Error::new(io::ErrorKind::InvalidInput, said)
    })
}

/// One page for the command, and one for each subcommand that `--help` lists.
fn man_pages(directory: &Path, date: &str) -> io::Result<()> {
    fs::create_dir_all(directory)?;
    // `unhang help` is `--help` in other words, and needs no page.
    let mut grammar = Unhang::grammar().disable_help_subcommand(true);
    grammar.build();
    man_page(directory, date, &grammar)?;
    for subcommand in grammar.get_subcommands().filter(|command| !command.is_hide_set()) {
        man_page(directory, date, subcommand)?;
    }
    Ok(())
}

fn man_page(directory: &Path, date: &str, command: &Command) -> io::Result<()> {
    let name = command.get_display_name().unwrap_or_else(|| command.get_name());
    let man = Man::new(command.clone().mut_args(shorten_heading))
        .date(date)
        .manual("unhang")
        .source(concat!("unhang ", env!("CARGO_PKG_VERSION")));
    let mut page = Vec::new();
    man.render_title(&mut page)?;
    man.render_name_section(&mut page)?;
    man.render_synopsis_section(&mut page)?;
    man.render_description_section(&mut page)?;
    man.render_options_section(&mut page)?;
    if command.has_subcommands() {
        man.render_subcommands_section(&mut page)?;
    }
    section("NOTES", &heading_notes(command)).to_writer(&mut page)?;
    // Not clap_mangen's own section: it fills the lines of the exit codes into one paragraph.
    let after = command.get_after_help().map(ToString::to_string).unwrap_or_default();
    section("EXIT STATUS", &after).to_writer(&mut page)?;
    fs::write(directory.join(format!("{name}.1")), page)
}

/// Cuts "Limits (sizes as 64KiB)" before the bracket. `clap_mangen` writes a heading in capitals and
/// does not escape it, so that a note about `\n` would become a command of roff.
fn shorten_heading(arg: Arg) -> Arg {
    match heading_parts(&arg) {
        Some((heading, _)) => arg.help_heading(heading),
        None => arg,
    }
}

/// The cut notes, a line each, in the order of the options.
fn heading_notes(command: &Command) -> String {
    let mut lines: Vec<String> = Vec::new();
    for (heading, note) in command.get_arguments().filter_map(heading_parts) {
        let line = format!("{heading}: {note}");
        if !lines.contains(&line) {
            lines.push(line);
        }
    }
    lines.join("\n")
}

fn heading_parts(arg: &Arg) -> Option<(String, String)> {
    let (heading, note) = arg.get_help_heading()?.split_once(" (")?;
    Some((heading.to_owned(), note.trim_end_matches(')').to_owned()))
}

/// A section that keeps its lines as they are; nothing if there is no text.
fn section(title: &str, text: &str) -> Roff {
    let mut roff = Roff::new();
    if text.is_empty() {
        return roff;
    }
    roff.control("SH", [title]).control("nf", []);
    for line in text.lines() {
        roff.text([roman(line)]);
    }
    roff.control("fi", []);
    roff
}

fn completions(directory: &Path) -> io::Result<()> {
    for (shell, place) in [(Shell::Bash, "bash"), (Shell::Zsh, "zsh"), (Shell::Fish, "fish")] {
        let place = directory.join(place);
        fs::create_dir_all(&place)?;
        clap_complete::generate_to(shell, &mut Unhang::grammar(), "unhang", &place)?;
    }
    // clap_complete says `unhang.bash`; bash-completion looks for a file with the command's name.
    fs::rename(directory.join("bash/unhang.bash"), directory.join("bash/unhang"))
}
