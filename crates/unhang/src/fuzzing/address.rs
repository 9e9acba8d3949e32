//! Addresses, from what people and kernels write.

use std::ffi::OsStr;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net::SocketAddr;

use crate::listen::address::Address;

/// Takes the input for an address.
pub fn address(data: &[u8]) {
    let named = data.strip_prefix(b"@").unwrap_or(data);
    let fits = (1..=107).contains(&named.len()) && !named.contains(&0);
    let address = Address::new(OsStr::from_bytes(data));
    assert_eq!(address.is_ok(), fits);
    let Ok(address) = address else { return };

    assert_eq!(address.path().is_none(), data.starts_with(b"@"));
    assert!(address.to_kernel().is_ok(), "the kernel takes what we take");
    let seen = match address.path() {
        Some(path) => SocketAddr::from_pathname(path),
        None => SocketAddr::from_abstract_name(named),
    };
    assert_eq!(seen.map(|seen| Address::of_socket(&seen)).ok(), Some(address.clone()));
    let shown = address.to_string();
    assert!(!shown.contains(char::is_control), "it does not drive the terminal: {shown:?}");
    if std::str::from_utf8(data).is_ok_and(|text| !text.contains(char::is_control)) {
        assert_eq!(shown.as_bytes(), data, "it is shown as it is written");
    }

    let control = address.control();
    assert_eq!(control.is_some(), named.len() + 4 <= 107);
    let expected = Address::new(OsStr::from_bytes(&[data, b".ctl"].concat()));
    assert_eq!(control, expected.ok());
}
