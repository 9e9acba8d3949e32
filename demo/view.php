<?php

/**
 * What page.php shows. Everything from outside passes text() here.
 *
 * @var array<string, array{string, string}> $servers
 * @var string $server    the key of the one that was asked
 * @var string $title
 * @var string $path
 * @var string $message
 * @var string $verdict
 * @var string $meaning
 * @var float $timeout
 * @var bool $isPane      without the choice of a server and the form
 * @var \Unhang\Demo\Answer $answer
 */

declare(strict_types=1);

use function Unhang\Demo\duration;
use function Unhang\Demo\head;
use function Unhang\Demo\ring;
use function Unhang\Demo\shellWord;
use function Unhang\Demo\text;

if (!isset($answer)) {
    // `php -S -t demo` shows this directory: this file alone is no page.
    http_response_code(404);
    exit;
}

// In percent; the least is a dot that can be seen.
$used = round(max(1.2, min(100, 100 * $answer->seconds / $timeout)), 1);
// A message that begins with a dash would be taken for an option.
$ahead = str_starts_with($message, '-') ? ' -- ' : ' ';

echo head("$title · unhang");
?>
<body<?= $isPane ? ' class="pane"' : '' ?>>
<?php if (!$isPane) : ?>
<header>
    <p class="name">unhang</p>
    <p class="promise">No client is ever left hanging.</p>
    <nav aria-label="Which server to ask">
    <?php foreach ($servers as $key => [$label]) : ?>
        <a
            href="?<?= text(http_build_query(['server' => $key, 'message' => $message])) ?>"
            <?= $key === $server ? 'aria-current="page"' : '' ?>

        ><?= text($label) ?></a>
    <?php endforeach ?>
    </nav>
</header>
<?php endif ?>

<main data-outcome="<?= $answer->outcome() ?>">
    <section class="verdict">
        <?= ring() ?>
        <div>
            <h1><?= $verdict ?></h1>
            <p><?= $meaning ?></p>
        </div>
    </section>

    <dl>
        <div>
            <dt>Sent</dt>
            <dd><code id="sent"><?= text($message) ?></code></dd>
        </div>
<?php if ($answer->reply !== null) : ?>
        <div>
            <dt>Reply</dt>
            <dd><code id="reply"><?= text(rtrim($answer->reply, "\r\n")) ?></code></dd>
        </div>
<?php endif ?>
        <div>
            <dt>Time</dt>
            <dd>
                <span id="took"><?= duration($answer->seconds) ?></span> <small>of at most <?= $timeout ?> s</small>
                <svg class="bar" aria-hidden="true"><rect width="<?= $used ?>%"/></svg>
            </dd>
        </div>
<?php if ($answer->trouble !== null) : ?>
        <div class="advice">
            <dt>Advice</dt>
            <dd id="advice"><?= nl2br(text($answer->trouble->getMessage()), false) ?></dd>
        </div>
<?php endif ?>
    </dl>
<?php if (!$isPane) : ?>
    <form>
        <input type="hidden" name="server" value="<?= text($server) ?>">
        <label for="message">Your message</label>
        <input id="message" name="message" value="<?= text($message) ?>" maxlength="500" required autocomplete="off">
        <button>Send</button>
    </form>
<?php endif ?>
</main>
<?php if (!$isPane) : ?>
<footer>
    <p>The same in PHP</p>
    <pre><code>$client = new Unhang\Client(<?= text(var_export($path, true)) ?>, timeout: <?= $timeout ?>);
echo $client-&gt;call(<?= text(var_export($message, true)) ?>);</code></pre>
    <p>The same in a terminal</p>
    <pre><code>unhang call <?= text(shellWord($path) . $ahead . shellWord($message)) ?></code></pre>
</footer>
<?php endif ?>
</body>
</html>
