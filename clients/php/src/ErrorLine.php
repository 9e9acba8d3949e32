<?php

declare(strict_types=1);

namespace Unhang;

/**
 * What `unhang serve` sends in place of a reply: exactly one line, "ERR" and the reason.
 *
 * @internal
 */
final class ErrorLine
{
    private const PREFIX = 'ERR ';

    /**
     * The reason; null if the bytes are no such line.
     */
    public static function reason(string $bytes): ?string
    {
        $isOne = str_starts_with($bytes, self::PREFIX) && strpos($bytes, "\n") === strlen($bytes) - 1;

        return $isOne ? substr($bytes, strlen(self::PREFIX), -1) : null;
    }

    /**
     * Whether the bytes can still become such a line.
     */
    public static function mayCome(string $bytes): bool
    {
        return strlen($bytes) < strlen(self::PREFIX)
            ? str_starts_with(self::PREFIX, $bytes)
            : str_starts_with($bytes, self::PREFIX) && !str_contains($bytes, "\n");
    }
}
