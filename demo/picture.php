<?php

/**
 * What `unhang why --watch --html` writes, for the page that shows it beside another. The file is replaced whole.
 */

declare(strict_types=1);

$picture = getenv('UNHANG_PICTURE');
$page = is_string($picture) && is_file($picture) ? file_get_contents($picture) : false;

header('Cache-Control: no-store');
header("Content-Security-Policy: default-src 'none'; style-src 'unsafe-inline'");

// There is none before the first look is over.
echo is_string($page) ? $page : '<!doctype html><html lang="en"><meta name="color-scheme" content="light dark">'
    . '<meta http-equiv="refresh" content="1"><title>unhang why</title><p>Looking…</p></html>';
