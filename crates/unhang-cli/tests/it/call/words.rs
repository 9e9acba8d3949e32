//! What it says on standard error, if that was wrong or could not be used.

use std::path::Path;

use super::{call, call_forgetful, said};
use crate::support::Place;

#[test]
fn an_address_of_nothing_is_not_too_long() {
    let nothing = said(&call(Path::new("@"), &["hello"], b""));
    assert!(nothing.contains("got nothing") && !nothing.contains("shorter"), "{nothing}");
    let long = said(&call(Path::new(&"x".repeat(108)), &["hello"], b""));
    assert!(long.contains("shorter one, for example below /run"), "{long}");
}

#[test]
fn an_abstract_name_has_no_file_that_a_server_could_leave_behind() {
    let place = Place::new();
    drop(std::os::unix::net::UnixListener::bind(&place.socket).unwrap());
    let left = said(&call(&place.socket, &["hello"], b""));
    assert!(left.contains("left the file behind"), "{left}");
    let name = format!("@unhang-nobody-{}", std::process::id());
    let nobody = said(&call(Path::new(&name), &["hello"], b""));
    assert!(nobody.contains("nobody listens") && !nobody.contains("file"), "{nobody}");
}

#[test]
fn control_characters_in_a_path_do_not_reach_the_terminal() {
    let place = Place::new();
    for name in ["a\x1b[31mb", "missing\x1b[31m/s", "@a\x1b[31mb"] {
        let path = match name.starts_with('@') {
            true => name.into(),
            false => place.directory.path().join(name),
        };
        let said = said(&call(&path, &["hello"], b""));
        assert!(!said.contains('\x1b') && said.contains(r"\u{1b}[31m"), "{said:?}");
    }
}

#[test]
fn the_command_that_is_named_can_be_run_as_it_stands() {
    let quoted = call_forgetful("o 's", b"", &["hello", "--deadline", "300ms"]);
    let said = said(&quoted);
    assert!(said.contains(r"unhang why '/") && said.contains(r"/o '\''s'"), "{said}");
}
