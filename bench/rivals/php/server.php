<?php
// PHP's plain loop, one client at a time: what a small service in PHP looks like. Only the queue is longer than its 32,
// so that the drain fits.
$queue = stream_context_create(['socket' => ['backlog' => 4096]]);
$flags = STREAM_SERVER_BIND | STREAM_SERVER_LISTEN;
$server = stream_socket_server("unix://$argv[1]", $code, $reason, $flags, $queue) or exit("$reason\n");
while (true) {
    $client = @stream_socket_accept($server, 3600.0);
    if ($client === false) {
        continue;
    }
    $request = fread($client, 8192);
    fwrite($client, "pong:$request");
    fclose($client);
}
