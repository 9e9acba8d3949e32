<?php

// Asks a server on a Unix socket, with ext/sockets: php sockets.php SOCKET MESSAGE
function ask(string $path, string $message, float $seconds = 5.0): string
{
    [$socket, $end] = [socket_create(AF_UNIX, SOCK_STREAM, 0), hrtime(true) + (int) (1e9 * $seconds)];
    $do = function (int $option, callable $call, mixed ...$with) use ($socket, $seconds, $end): mixed {
        $left = intdiv($end - hrtime(true), 1000); // set anew for each call, or a dripping server would renew it
        $time = ['sec' => intdiv($left, 1_000_000), 'usec' => $left % 1_000_000];
        $done = $left > 0 && socket_set_option($socket, SOL_SOCKET, $option, $time) ? @$call($socket, ...$with) : false;
        $why = hrtime(true) < $end ? socket_strerror(socket_last_error($socket)) : "no end within $seconds s";
        return $done !== false ? $done : throw new Exception($why);
    };
    $do(SO_SNDTIMEO, socket_connect(...), $path);
    while ($message !== '') {
        $message = substr($message, $do(SO_SNDTIMEO, socket_write(...), $message));
    }
    socket_shutdown($socket, 1); // our message is complete
    // PHP_NORMAL_READ would ignore the timeout, lose a last line without newline, and take the end for a reset.
    for ($reply = ''; ($piece = $do(SO_RCVTIMEO, socket_read(...), 65536)) !== ''; $reply .= $piece);
    return $reply;
}

try {
    echo ask($argv[1], $argv[2]);
} catch (Exception $failure) {
    fwrite(STDERR, "$argv[1]: {$failure->getMessage()}\n");
    exit(1);
}
