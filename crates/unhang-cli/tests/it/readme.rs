//! What the README tells people to paste, run as it stands. Its Rust is compiled by the library's doctests, and its
//! verdict is compared with a real one in `why::php`.

use std::fs;
use std::io::{Read, Write};
use std::os::unix::net::UnixListener;
use std::path::Path;
use std::process::{Command, Output};

use crate::support::programs::missing;
use crate::support::{Place, UNHANG, root};

/// A server in the background, and at once a call: without `--wait` the call came first 6 times of 20.
#[test]
fn the_blocks_for_the_shell_serve_and_call() {
    let blocks = blocks("sh");
    assert_eq!(blocks.len(), 1, "expected the service alone, got {blocks:#?}");
    for block in blocks {
        for _ in 0..5 {
            let place = Place::new();
            let directory = place.directory.path();
            // People have it in their PATH; and a socket of the test's own, as others may run the same block.
            let block = block.replace("/tmp/", &format!("{}/", directory.display()));
            let bin = Path::new(UNHANG).parent().unwrap();
            let path = format!("{}:{}", bin.display(), std::env::var("PATH").unwrap());
            let mut shell = Command::new("bash");
            shell.arg("-c").arg(format!("{block}\nkill $!\nwait $!"));
            let Output { status, stdout, stderr } =
                shell.current_dir(directory).env("PATH", path).output().unwrap();
            let said = String::from_utf8_lossy(&stderr);
            assert!(status.success(), "{block}: {status}, {said}");
            // Among the lines of the server's log.
            let printed = String::from_utf8_lossy(&stdout);
            assert!(printed.lines().any(|line| line == "hello, world"), "{block}: {printed}{said}");
        }
    }
}

/// The server answers one line and never closes: the case that the block is there for.
#[test]
fn the_block_for_php_has_its_reply_from_a_server_that_never_closes() {
    if missing("php", "php-cli") {
        return;
    }
    let place = Place::new();
    let listener = UnixListener::bind(&place.socket).unwrap();
    let server = std::thread::spawn(move || {
        let (mut client, _) = listener.accept().unwrap();
        let mut request = [0; 5];
        client.read_exact(&mut request).unwrap();
        client.write_all(b"OK+ hello\n").unwrap();
        // Open until the page has read its reply and closes.
        let _ = client.read_to_end(&mut Vec::new());
        request
    });
    let blocks = blocks("php");
    let [block] = &blocks[..] else { panic!("expected one block, got {blocks:#?}") };
    let there = "/run/odc.sock";
    assert!(block.contains(there), "expected a call to {there} in {block}");
    let block = block.replace(there, place.socket.to_str().unwrap());
    let page = place.directory.path().join("page.php");
    // Composer's part: a class is in the file of its name.
    let autoload = format!(
        "spl_autoload_register(fn ($class) => require '{}/clients/php/src/' . strtr(substr($class, 7), '\\\\', '/') . '.php');",
        root().display()
    );
    fs::write(&page, format!("<?php\n{autoload}\n{block}\necho $reply;")).unwrap();
    let Output { status, stdout, stderr } = Command::new("php").arg(&page).output().unwrap();
    let said = String::from_utf8_lossy(&stderr);
    assert!(status.success(), "{status}, {said}");
    assert_eq!(String::from_utf8_lossy(&stdout), "OK+ hello\n", "{said}");
    assert_eq!(server.join().unwrap(), *b"hello");
}

/// The blocks of the README in one language.
fn blocks(language: &str) -> Vec<String> {
    let text = fs::read_to_string(root().join("README.md")).unwrap();
    let start = format!("```{language}\n");
    let blocks = text.split(&start).skip(1);
    blocks.map(|rest| rest.split_once("\n```").unwrap().0.to_owned()).collect()
}
