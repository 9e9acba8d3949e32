<?php

// Asks a server on a Unix socket: php client.php SOCKET MESSAGE
// The package unhang/client does it in one line, with retries: (new Unhang\Client($path))->call($message)
function ask(string $path, string $message, float $seconds = 5.0): string
{
    $end = hrtime(true) + (int) (1e9 * $seconds);
    $stream = @stream_socket_client("unix://$path", $code, $reason) ?: throw new Exception($reason);
    stream_set_blocking($stream, false);
    for ($reply = '', $sending = true;; $reply .= $piece) {
        [$read, $write, $except, $left] = [[$stream], $sending ? [$stream] : [], [], intdiv($end - hrtime(true), 1000)];
        $left > 0 && stream_select($read, $write, $except, 0, $left) ?: throw new Exception("no end within $seconds s");
        if ($write) {
            $message = substr($message, (int) @fwrite($stream, $message));
            $sending = $message !== '' || !stream_socket_shutdown($stream, STREAM_SHUT_WR);
        }
        $piece = $read ? fread($stream, 65536) : null;
        if ($piece === '' || $piece === false) { // the end; or a reset
            return $piece === '' && !$sending ? $reply : throw new Exception('the connection broke');
        }
    }
}

try {
    echo ask($argv[1], $argv[2]);
} catch (Exception $failure) {
    fwrite(STDERR, "$argv[1]: {$failure->getMessage()}\n");
    exit(1);
}
