<?php

declare(strict_types=1);

namespace Unhang\Circuit;

/**
 * For one process: a worker of Octane, Messenger or a queue. PHP forgets it at the end of a request under php-fpm.
 */
final class ProcessStore implements CircuitStore
{
    /** @var array<string, int> */
    private static array $until = [];

    /** @var array<string, int> */
    private static array $failures = [];

    public function openUntil(string $name): int
    {
        return self::$until[$name] ?? 0;
    }

    public function open(string $name, int $until): void
    {
        self::$until[$name] = $until;
    }

    public function move(string $name, int $from, int $to): bool
    {
        if ($this->openUntil($name) !== $from) {
            return false;
        }
        self::$until[$name] = $to;

        return true;
    }

    public function failed(string $name): int
    {
        return self::$failures[$name] = (self::$failures[$name] ?? 0) + 1;
    }

    public function reset(string $name): void
    {
        unset(self::$until[$name], self::$failures[$name]);
    }
}
