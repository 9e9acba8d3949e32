<?php

// What a call costs with a connection of its own, and with one that is kept. bench/kept_php.py starts the servers and
// calls this: php kept.php ROUNDS CALLS, then for each kind its name, socket and server's process. A line per round.

declare(strict_types=1);

use Unhang\Client;
use Unhang\Keep;
use Unhang\Wire;

spl_autoload_register(static function (string $class): void {
    require __DIR__ . '/../../../clients/php/src/' . strtr(substr($class, strlen('Unhang\\')), '\\', '/') . '.php';
});

[, $rounds, $calls] = $argv;
$kinds = [];
foreach (array_chunk(array_slice($argv, 3), 3) as [$name, $path, $pid]) {
    $client = match (strtok($name, ' ')) {
        'oneshot' => new Client($path),
        'lines' => new Client($path, wire: Wire::lines(), keep: keep($name)),
        'http' => new Client($path, wire: Wire::http(), keep: keep($name)),
    };
    $kinds[$name] = [$client, $pid];
}

function keep(string $name): Keep
{
    return str_ends_with($name, 'worker') ? Keep::Worker : Keep::Request;
}

/** Nanoseconds that this process and then the server have used. */
function used(string $pid): array
{
    $own = getrusage();
    $micros = ($own['ru_utime.tv_sec'] + $own['ru_stime.tv_sec']) * 1e6 + $own['ru_utime.tv_usec'] + $own['ru_stime.tv_usec'];
    $server = 0;
    foreach (glob("/proc/$pid/task/*/schedstat") as $thread) {
        $server += (int) file_get_contents($thread);
    }
    return [$micros * 1e3, $server];
}

for ($round = 0; $round <= $rounds; $round++) {
    $names = array_keys($kinds);
    shuffle($names);
    $figures = [];
    foreach ($names as $name) {
        [$client, $pid] = $kinds[$name];
        $client->call('hello');
        [$own, $server] = used($pid);
        $begun = hrtime(true);
        for ($call = 0; $call < $calls; $call++) {
            $client->call('hello');
        }
        $wall = hrtime(true) - $begun;
        [$ownAfter, $serverAfter] = used($pid);
        $figures[$name] = ['wall' => $wall / $calls, 'client' => ($ownAfter - $own) / $calls, 'server' => ($serverAfter - $server) / $calls];
    }
    // The first warms up.
    if ($round > 0) {
        echo json_encode($figures), "\n";
    }
}
