<?php

declare(strict_types=1);

namespace Unhang\Circuit;

/**
 * What circuit breakers know of a server, by its name. Times are nanoseconds of hrtime(), which all processes of a
 * machine share.
 */
interface CircuitStore
{
    /**
     * Until when it is spared; 0 if it is not.
     */
    public function openUntil(string $name): int;

    public function open(string $name, int $until): void;

    /**
     * Moves that time if it is still $from, and says whether it was. Of several callers at once, one may succeed.
     */
    public function move(string $name, int $from, int $to): bool;

    /**
     * Counts a failure, and says how many there were in a row.
     */
    public function failed(string $name): int;

    /**
     * After an answer.
     */
    public function reset(string $name): void;
}
