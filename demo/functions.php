<?php

declare(strict_types=1);

namespace Unhang\Demo;

/** Everything that comes from outside passes here. What no page may hold, a NUL or half a letter, shows as �. */
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
