#!/usr/bin/env perl
# Asks a server on a Unix socket: perl client.pl SOCKET MESSAGE
use strict;
use warnings;
use IO::Socket::UNIX;

sub ask {
    my ($path, $message, $seconds) = @_;
    local $SIG{ALRM} = sub { die "$path: no end within $seconds s\n" };
    local $SIG{PIPE} = 'IGNORE';    # so that print fails instead of ending us
    my $reply = eval {
        alarm $seconds;
        my $server = IO::Socket::UNIX->new(Peer => $path) or die "$path: $!\n";
        print {$server} $message or die "$path: $!\n";
        $server->shutdown(1);       # our message is complete
        my ($bytes, $count) = ('');
        do {
            $count = sysread($server, $bytes, 65536, length $bytes) // die "$path: $!\n";
        } while $count;
        $bytes;
    };
    alarm 0;
    return $reply // die $@;
}

print ask($ARGV[0], $ARGV[1], 5);
