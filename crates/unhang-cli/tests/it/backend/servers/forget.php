<?php
$server = stream_socket_server("unix://$argv[1]");
echo "ready\n";
$kept = [];
while (true) {
    if ($client = @stream_socket_accept($server, 3600)) {
        $kept[] = $client;
        fwrite($client, strtoupper(fgets($client)));
    }
}
