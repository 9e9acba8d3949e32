<?php

declare(strict_types=1);

namespace Unhang\Circuit;

/**
 * For all workers of a php-fpm pool, in APCu's shared memory.
 */
final class ApcuStore implements CircuitStore
{
    /** Seconds. Failures that are further apart are not in a row; and no name stays for ever. */
    private const LIFE = 3600;

    public static function isUsable(): bool
    {
        return function_exists('apcu_enabled') && apcu_enabled();
    }

    public function openUntil(string $name): int
    {
        return (int) apcu_fetch(self::until($name));
    }

    public function open(string $name, int $until): void
    {
        apcu_store(self::until($name), $until, self::LIFE);
    }

    public function move(string $name, int $from, int $to): bool
    {
        return apcu_cas(self::until($name), $from, $to);
    }

    public function failed(string $name): int
    {
        return (int) apcu_inc(self::failures($name), 1, $success, self::LIFE);
    }

    public function reset(string $name): void
    {
        // Looked for first: a healthy server's calls only read, and take no lock from each other.
        foreach ([self::until($name), self::failures($name)] as $key) {
            if (apcu_exists($key)) {
                apcu_delete($key);
            }
        }
    }

    private static function until(string $name): string
    {
        return "unhang.circuit.$name.until";
    }

    private static function failures(string $name): string
    {
        return "unhang.circuit.$name.failures";
    }
}
