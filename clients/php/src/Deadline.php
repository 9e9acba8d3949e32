<?php

declare(strict_types=1);

namespace Unhang;

use Unhang\Exception\InvalidArgumentException;

/**
 * A moment on the monotonic clock: setting the system's time moves it neither way. Give the same one to several calls,
 * and they share its time.
 */
final class Deadline
{
    /** Seconds. A longer wait is a hang to everybody; more likely the number was meant as milliseconds. */
    public const LONGEST = 600.0;

    private readonly int $start;

    /**
     * @param float $timeout seconds from now, more than 0 and at most {@see LONGEST}
     *
     * @throws InvalidArgumentException
     */
    public function __construct(public readonly float $timeout)
    {
        // Written so that NAN, which is neither greater nor smaller than anything, is refused too.
        if (!($timeout > 0 && $timeout <= self::LONGEST)) {
            throw new InvalidArgumentException(sprintf(
                'The timeout must be more than 0 and at most %d seconds, but it is %s.%s',
                self::LONGEST,
                $timeout,
                $timeout > self::LONGEST && is_finite($timeout)
                    ? " If that was meant as milliseconds, write " . $timeout / 1000 . '.'
                    : '',
            ));
        }
        $this->start = hrtime(true);
    }

    /**
     * Seconds since the deadline was made.
     */
    public function elapsed(): float
    {
        return (hrtime(true) - $this->start) / 1e9;
    }

    /**
     * Seconds left; 0.0 once it has passed.
     */
    public function remaining(): float
    {
        return max(0.0, $this->timeout - $this->elapsed());
    }

    public function passed(): bool
    {
        return $this->elapsed() >= $this->timeout;
    }
}
