<?php

/**
 * A page as it is often written: it reads until the server closes. Its head is sent before it asks, so that a visitor
 * sees it wait. script/demo gives its server more than one process: one that hangs serves nobody else.
 */

declare(strict_types=1);

use function Unhang\Demo\asked;
use function Unhang\Demo\duration;
use function Unhang\Demo\head;
use function Unhang\Demo\ring;
use function Unhang\Demo\text;

require __DIR__ . '/functions.php';

// Where to connect is the operator's word. Taken from the request, it would let a visitor talk to any socket.
$sockets = [
    'hanging' => getenv('UNHANG_HANGING_SOCKET') ?: '/tmp/unhang-hanging.sock',
    'front' => getenv('UNHANG_FRONT_SOCKET') ?: '/tmp/unhang-front.sock',
];
$path = $sockets[asked('server', 'hanging')] ?? $sockets['hanging'];
$message = 'Hello from PHP';

header('Cache-Control: no-store');
header("Content-Security-Policy: default-src 'none'; style-src 'self'; img-src 'self'");

echo head('A page · unhang');
?>
<body class="pane">
<main data-outcome="waiting" class="naive">
    <section class="verdict waiting">
        <?= ring() ?>
        <div>
            <h1>Still loading.</h1>
            <p>The reply has arrived. The page does not have it: it waits for the end.</p>
        </div>
    </section>
    <dl>
        <div>
            <dt>Sent</dt>
            <dd><code id="sent"><?= text($message) ?></code></dd>
        </div>
        <div class="waiting">
            <dt>Time</dt>
            <dd><span class="clock"></span> <small>and no end</small></dd>
        </div>
<?php
// The browser shows what has come so far. PHP's usual configuration holds 4096 bytes back.
while (ob_get_level() > 0) {
    ob_end_flush();
}
flush();
$start = hrtime(true);
$reply = false;
$socket = @stream_socket_client("unix://$path", $code, $error);
if ($socket !== false) {
    fwrite($socket, "$message\n");
    $reply = stream_get_contents($socket);
}
$seconds = (hrtime(true) - $start) / 1e9;
$is_there = $reply !== false && $reply !== '';
?>
    </dl>
    <section class="verdict done" data-outcome="<?= $is_there ? 'answered' : 'failed' ?>">
        <?= ring() ?>
        <div>
            <h1><?= $is_there ? 'Answered, and closed.' : 'No answer.' ?></h1>
            <p><?= $is_there
                ? 'The front saw that the server was through, and closed. To PHP that is the end of the reply.'
                : text($socket === false ? "$error: $path" : 'PHP gave up: default_socket_timeout is over.') ?></p>
        </div>
    </section>
    <dl class="done">
<?php if ($is_there) : ?>
        <div>
            <dt>Reply</dt>
            <dd><code id="reply"><?= text(rtrim((string) $reply)) ?></code></dd>
        </div>
<?php endif ?>
        <div>
            <dt>Time</dt>
            <dd><span id="took"><?= duration($seconds) ?></span></dd>
        </div>
    </dl>
</main>
</body>
</html>
