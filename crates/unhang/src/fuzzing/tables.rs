//! The rows of /proc/net/unix, which hold names that anybody chose, and of /proc/locks.

use std::ffi::OsStr;
use std::fmt::Write;
use std::os::unix::ffi::OsStrExt;

use super::input::Input;
use crate::listen::address::Address;
use crate::listen::owner::{bound_inode, lock_row};

/// The first byte chooses the table.
pub fn tables(data: &[u8]) {
    let mut input = Input::new(data);
    if input.choose([true, false]) {
        locks(&mut input);
    } else {
        sockets(&mut input);
    }
}

/// Whatever stands in the table besides, the lock's own row is found, and no other.
fn locks(input: &mut Input<'_>) {
    const ID: &str = "fe:00:12";
    let junk = String::from_utf8_lossy(input.rest());
    let _ = lock_row(&junk, ID);
    if !junk.contains(ID) {
        let mut table = junk.into_owned();
        assert_eq!(lock_row(&table, ID), None);
        // The infallible write of a string.
        let _ = write!(table, "\n3: FLOCK  ADVISORY  WRITE 702 {ID} 0 EOF\n");
        assert_eq!(lock_row(&table, ID), Some(702));
        let waiting = table.replace("FLOCK  ADVISORY  WRITE 702", "-> FLOCK  ADVISORY  WRITE 702");
        assert_eq!(lock_row(&waiting, ID), None);
    }
}

/// The row of exactly this name is found, whatever the others are called. But for newlines, which
/// the kernel prints as they are: a socket with one in its name can write rows. That is why the process
/// that a complaint names is a help, and no proof.
fn sockets(input: &mut Input<'_>) {
    // The kernel shows a name as it is written for us: with `@` for the NUL of an abstract one.
    let wanted = input.counted();
    let Ok(address) = Address::new(OsStr::from_bytes(wanted)) else { return };
    let mut table = b"Num       RefCount Protocol Flags    Type St Inode Path\n".to_vec();
    let (mut listening, mut bound) = (None, None);
    for inode in 100.. {
        if input.is_used_up() {
            break;
        }
        // It listens, was accepted by one that does, or is only bound.
        let (flags, state) =
            input.choose([("00010000", "01"), ("00000000", "03"), ("00000000", "01")]);
        let name = match input.choose([0, 1, 2]) {
            0 => wanted.to_vec(),
            1 => [input.counted(), wanted].concat(),
            _ => input.counted().to_vec(),
        };
        if name.contains(&b'\n') {
            continue;
        }
        let row = format!("0000000000000000: 00000002 00000000 {flags} 0001 {state} {inode:5}");
        table.extend_from_slice(row.as_bytes());
        if !name.is_empty() {
            table.extend_from_slice(&[b" ", &name[..]].concat());
        }
        table.push(b'\n');
        if name == wanted && flags == "00010000" {
            listening = listening.or(Some(inode));
        } else if name == wanted && state == "01" {
            bound = bound.or(Some(inode));
        }
    }
    let expected = listening.or(bound);
    assert_eq!(bound_inode(&table, &address), expected, "{}", table.escape_ascii());
}
