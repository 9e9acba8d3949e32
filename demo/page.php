<?php

/**
 * Asks a local service and shows what it answered. Start it with
 *
 *     php -S 127.0.0.1:8080 -t demo
 *
 * and open http://127.0.0.1:8080/page.php. script/demo starts the services, too.
 */

declare(strict_types=1);

use Unhang\Demo\Answer;

use function Unhang\Demo\asked;

spl_autoload_register(static function (string $class): void {
    // The longer prefix first: both begin with Unhang\.
    foreach (['Unhang\\Demo\\' => __DIR__, 'Unhang\\' => dirname(__DIR__) . '/clients/php/src'] as $prefix => $root) {
        if (str_starts_with($class, $prefix)) {
            require $root . '/' . strtr(substr($class, strlen($prefix)), '\\', '/') . '.php';
            return;
        }
    }
});

require __DIR__ . '/functions.php';

$timeout = 2.0; // Seconds. Far longer than a local call takes, and short enough for a person to wait.

// Where to connect is the operator's word. Taken from the request, it would let a visitor talk to any socket.
$servers = [
    'closes' => ['A server that closes', getenv('UNHANG_SOCKET') ?: '/tmp/unhang-demo.sock'],
    'forgets' => ['A server that forgets to close', getenv('UNHANG_FORGETFUL_SOCKET') ?: '/tmp/unhang-forgetful.sock'],
];

$server = asked('server', 'closes');
$server = isset($servers[$server]) ? $server : 'closes';
[$title, $path] = $servers[$server];
$message = asked('message', 'Hello from PHP');
$isPane = asked('pane', '') === 'yes'; // Shown by index.php, beside others.
$answer = Answer::to($message, $path, $timeout);

[$verdict, $meaning] = match ($answer->outcome()) {
    'answered' => [
        'Answered, and closed.',
        'The service closed its end right after the reply. To PHP that is the end of the reply, so it went on at once.',
    ],
    'not-closed' => [
        'Answered, but did not close.',
        'The reply came, its end did not. Code that reads until the end, without a deadline, would still be waiting,'
            . ' and this page would still be loading.',
    ],
    'refused' => [
        'Answered with an error.',
        'The service said why it could not do what it was asked, and closed its end.',
    ],
    'failed' => [
        'No answer.',
        'There is nothing to show, and the page says so instead of waiting.',
    ],
};

http_response_code($answer->reply === null ? 502 : 200);
header('Cache-Control: no-store');
// A second lock behind text(): no script runs here, not even one that slipped through.
header("Content-Security-Policy: default-src 'none'; style-src 'self'; img-src 'self'; form-action 'self'");

require __DIR__ . '/view.php';
