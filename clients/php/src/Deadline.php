<?php

declare(strict_types=1);

namespace Unhang;

/**
 * A moment on the monotonic clock: setting the system's time moves it neither way.
 *
 * @internal
 */
final readonly class Deadline
{
    private int $start;

    public function __construct(public float $timeout)
    {
        $this->start = hrtime(true);
    }

    public function elapsed(): float
    {
        return (hrtime(true) - $this->start) / 1e9;
    }

    public function remaining(): float
    {
        return max(0.0, $this->timeout - $this->elapsed());
    }

    /** Rounded up: rounded down, the last fraction of a microsecond would be spent spinning. */
    public function remainingMicroseconds(): int
    {
        return (int) ceil($this->remaining() * 1e6);
    }

    public function passed(): bool
    {
        return $this->elapsed() >= $this->timeout;
    }
}
