<?php

/**
 * The classic bug, on purpose: a server that answers and never closes.
 *
 *     php demo/forgetful.php PATH
 *
 * Everything else about it is right, which is why the bug is hard to see: the reply has arrived, and yet a client
 * that reads until the end of it waits for ever. It ends by itself after an hour, or on SIGTERM or Ctrl-C.
 */

declare(strict_types=1);

if (PHP_SAPI !== 'cli') {
    // `php -S -t demo` shows this directory: a visitor must not start a server that holds the page's only worker.
    http_response_code(404);
    exit;
}

const HOUR = 3600;
const MOST_KEPT = 100; // Without a bound the demo would run out of descriptors and begin to fail in another way.

if ($argc !== 2) {
    fwrite(STDERR, "usage: php forgetful.php PATH\n");
    exit(2);
}

$path = $argv[1];

if (strlen($path) > 107) {
    // PHP would cut the name short and listen somewhere else.
    fwrite(STDERR, "forgetful: $path: longer than the 107 bytes that a socket's path can have\n");
    exit(1);
}

if (file_exists($path)) {
    fwrite(STDERR, "forgetful: $path is there already: another server's socket, or left over by one that was killed\n");
    exit(1);
}

$listener = @stream_socket_server("unix://$path");

if ($listener === false) {
    fwrite(STDERR, "forgetful: cannot listen on $path: is its directory there, and yours to write to?\n");
    exit(1);
}

register_shutdown_function(static fn () => @unlink($path));
pcntl_async_signals(true);

foreach ([SIGTERM, SIGINT] as $signal) {
    pcntl_signal($signal, static fn () => exit(0));
}

echo "forgetful: listening on $path\n";

$end = hrtime(true) + HOUR * 1e9;
$kept = [];

while (hrtime(true) < $end) {
    // A second at most: a signal that comes just before the wait begins is only seen after it.
    $connection = @stream_socket_accept($listener, 1.0);

    if ($connection === false) {
        continue;
    }

    // A client that connects and says nothing holds up all others, but not for long.
    stream_set_timeout($connection, 1);

    if ((string) fread($connection, 8192) !== '') {
        @fwrite($connection, 'OK+ at ' . (new DateTimeImmutable())->format('Y-m-d\TH:i:s.uP') . "\n");
    }

    // The bug: an `fclose($connection)` belongs here.
    $kept[] = $connection;

    if (count($kept) > MOST_KEPT) {
        array_shift($kept);
    }
}
