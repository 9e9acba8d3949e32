<?php

declare(strict_types=1);

namespace Unhang\Demo;

/** Everything that comes from outside passes here. A character that no page may hold, a NUL or half a letter, shows as �. */
function text(string $outside): string
{
    return htmlspecialchars($outside, ENT_QUOTES | ENT_SUBSTITUTE | ENT_DISALLOWED | ENT_HTML5, 'UTF-8');
}

/** One word from the query; `?message[]=x` makes PHP build an array, which is no message. */
function asked(string $name, string $default): string
{
    $value = $_GET[$name] ?? $default;

    return is_string($value) ? $value : $default;
}

function duration(float $seconds): string
{
    return $seconds < 0.1 ? number_format($seconds * 1000, 2) . ' ms' : number_format($seconds, 2) . ' s';
}

/** One word for a shell. Not escapeshellarg(): it drops what is not ASCII in some locales, and throws at a NUL byte. */
function shellWord(string $word): string
{
    return "'" . strtr($word, ["'" => "'\\''"]) . "'";
}

/** The first lines of every page, up to its body. */
function head(string $title, string ...$sheets): string
{
    $links = '';
    foreach (['colours.css', 'page.css', ...$sheets] as $sheet) {
        $links .= "    <link rel=\"stylesheet\" href=\"$sheet\">\n";
    }

    return '<!doctype html>
<html lang="en">
<head>
    <meta charset="utf-8">
    <meta name="viewport" content="width=device-width, initial-scale=1">
    <meta name="color-scheme" content="light dark">
    <title>' . text($title) . '</title>
    <link rel="icon" href="icon.svg">
' . $links . '</head>
';
}

/** A ring for a connection: the style sheet shows it closed, left open, or hardly begun. */
function ring(): string
{
    return '<svg class="ring" viewBox="0 0 48 48" aria-hidden="true">'
        . '<circle cx="24" cy="24" r="18" pathLength="100"/></svg>';
}
