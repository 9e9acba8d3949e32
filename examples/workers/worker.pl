# unhang serve /tmp/shout.sock --workers 2 -- perl worker.pl
$| = 1;    # without it, perl keeps its replies in a buffer
while (my $line = <STDIN>) {
    chomp $line;
    my ($id, $request) = split / /, $line, 2;
    print "$id ", uc $request, "\n";
}
