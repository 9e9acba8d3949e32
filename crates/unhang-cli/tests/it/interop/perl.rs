//! Perl's `IO::Socket::UNIX`.

use std::path::Path;
use std::process::Command;

use super::{SILENCE, a_mebibyte, every_way, missing};

const PACKAGE: &str = "perl";

#[test]
fn perl_reads_to_the_end() {
    if missing("perl", PACKAGE) {
        return;
    }
    assert_eq!(every_way(perl), SILENCE);
}

/// Not until dry: Perl writes in pieces of 8 KiB, and between two of them nothing shows that
/// another follows.
#[test]
fn perl_a_mebibyte_arrives_whole() {
    if missing("perl", PACKAGE) {
        return;
    }
    for (until, half_close) in [("newline", false), ("half-close", true)] {
        a_mebibyte(until, half_close, perl);
    }
}

const CLIENT: &str = r"
    use strict;
    use warnings;
    use IO::Socket::UNIX;
    my ($path, $half_close) = @ARGV;
    my $message = do { local $/; <STDIN> };
    my $socket = IO::Socket::UNIX->new($path) or die $!;
    print $socket $message;
    $socket->shutdown(1) if $half_close eq 'true';
    print while <$socket>;
";

fn perl(path: &Path, half_close: bool) -> Command {
    let mut perl = Command::new("perl");
    perl.args(["-e", CLIENT]).arg(path).arg(half_close.to_string());
    perl
}
