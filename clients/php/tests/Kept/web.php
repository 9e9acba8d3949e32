<?php

/*
 * A page for `php -S`, whose one worker serves every request, as a php-fpm worker does: it asks the socket SOCKET for
 * what "q" says, in the wire WIRE (lines unless set), and dies in the middle as "die" says.
 */

declare(strict_types=1);

use Unhang\Client;
use Unhang\Exception\UnhangException;
use Unhang\Keep;
use Unhang\Wire;

require dirname(__DIR__) . '/bootstrap.php';

$wire = getenv('WIRE') === 'http' ? Wire::http() : Wire::lines();
$client = new Client((string) getenv('SOCKET'), timeout: 20, wire: $wire, keep: Keep::Worker);
$die = $_GET['die'] ?? '';

if ($die !== '') {
    // The signal comes while the call waits: the answer is held back until the next call.
    pcntl_async_signals(true);
    pcntl_signal(SIGALRM, static function () use ($die): void {
        match ($die) {
            'exit' => exit('died'),
            'throw' => throw new DomainException('died'),
            'fatal' => (static function (): void {
                ini_set('memory_limit', (string) (memory_get_usage() + 2_000_000));
                str_repeat('x', 100_000_000);
            })(),
        };
    });
    $alarm = proc_open(['sh', '-c', 'sleep 0.2; kill -ALRM ' . getmypid()], [], $pipes);
}

try {
    echo $client->call((string) $_GET['q'], isset($_GET['timeout']) ? (float) $_GET['timeout'] : null);
} catch (UnhangException $e) {
    echo $e::class;
}
