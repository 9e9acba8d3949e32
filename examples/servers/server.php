<?php // A server that hangs nobody: php server.php /tmp/s.sock

const DEADLINE = 5.0; // seconds for the whole exchange; one client at a time waits for another that long

$path = $argv[1];
if (file_exists($path)) {
    unlink($path); // what the last run has left; with two servers at once, use a lock
}
$server = stream_socket_server("unix://$path", $code, $error) ?: exit("$error\n");
echo "ready\n";
while (true) {
    $client = @stream_socket_accept($server, 3600);
    if ($client === false) {
        continue;
    }
    stream_set_blocking($client, false);
    $until = microtime(true) + DEADLINE;
    $request = '';
    // To a newline, the end, a mebibyte or the deadline: a byte now and then extends nothing.
    while (!str_contains($request, "\n") && !feof($client) && strlen($request) < 1 << 20) {
        $left = $until - microtime(true);
        $read = [$client];
        $none = null;
        if ($left <= 0 || stream_select($read, $none, $none, 0, (int) ($left * 1e6)) === 0) {
            break;
        }
        $request .= fread($client, 65536);
    }
    $reply = strtoupper(strtok($request, "\n") ?: '') . "\n";
    while ($reply !== '' && ($left = $until - microtime(true)) > 0) {
        $write = [$client];
        $none = null;
        if (stream_select($none, $write, $none, 0, (int) ($left * 1e6)) === 0) {
            break;
        }
        $written = @fwrite($client, $reply);
        if ($written === false) {
            break;
        }
        $reply = substr($reply, $written);
    }
    fclose($client); // whatever happened: this is the end of the reply
}
