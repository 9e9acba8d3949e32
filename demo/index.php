<?php

/**
 * The same page three times: without unhang, with the client's deadline, and behind a front. Beside the first of them,
 * what `unhang why` sees. script/demo starts all that is asked here.
 */

declare(strict_types=1);

use function Unhang\Demo\head;
use function Unhang\Demo\shellWord;
use function Unhang\Demo\text;

require __DIR__ . '/functions.php';

// Another server's: each page that hangs keeps one of its processes, and whatever that process has accepted besides.
$naive = getenv('UNHANG_NAIVE_PAGE') ?: 'naive.php';
$hanging = getenv('UNHANG_HANGING_SOCKET') ?: '/tmp/unhang-hanging.sock';
$front = getenv('UNHANG_FRONT_SOCKET') ?: '/tmp/unhang-front.sock';
$behind = getenv('UNHANG_FORGETFUL_SOCKET') ?: '/tmp/unhang-forgetful.sock';

header('Cache-Control: no-store');
$origin = strtok($naive, '?') === 'naive.php' ? '' : ' ' . implode('/', array_slice(explode('/', $naive), 0, 3));
header("Content-Security-Policy: default-src 'none'; style-src 'self'; img-src 'self'; frame-src 'self'$origin");

echo head('unhang · the same page three times', 'wall.css');
?>
<body class="wall">
<header>
    <p class="name">unhang</p>
    <p class="promise">No client is ever left hanging.</p>
    <p class="story">One page, three times. Each asks a server that answers and forgets to close.</p>
</header>

<main>
    <section class="bad">
        <h2>As it is</h2>
        <p>The page reads until the end, which never comes.</p>
        <iframe src="<?= text($naive) ?>?server=hanging" title="The page without unhang"></iframe>
        <pre><code>$reply = stream_get_contents($socket);</code></pre>
    </section>

    <section class="look">
        <h2>Why it hangs</h2>
        <p>Looks at the running system, again and again.</p>
        <iframe src="picture.php" title="What unhang why sees"></iframe>
        <pre><code>unhang why <?= text(shellWord($hanging)) ?></code></pre>
    </section>

    <section class="late">
        <h2>With a deadline</h2>
        <p>The page changes one line, and has the reply.</p>
        <iframe src="page.php?server=forgets&amp;pane=yes" title="The page with the client of unhang"></iframe>
        <pre><code>$reply = (new Unhang\Client($path, timeout: 2.0))-&gt;call($message);</code></pre>
    </section>

    <section class="good">
        <h2>Behind a front</h2>
        <p>Page and server stay as they are.</p>
        <iframe src="naive.php?server=front" title="The page behind the front"></iframe>
        <pre><code>unhang serve <?= text(shellWord($front)) ?> --to <?= text(shellWord($behind)) ?></code></pre>
    </section>
</main>

<footer>
    <p>This tab goes on loading because the first page does. <a href="page.php">Ask with a message of your own.</a></p>
</footer>
</body>
</html>
