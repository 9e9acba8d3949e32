<?php

declare(strict_types=1);

namespace Unhang\Exception;

/**
 * The client was given something it cannot work with; the mistake is in the calling code, and nothing was sent.
 */
final class InvalidArgumentException extends \InvalidArgumentException implements UnhangException
{
    /** The same call would fail in the same way. */
    public function isRetrySafe(): bool
    {
        return false;
    }

    public function fault(): Fault
    {
        return Fault::Caller;
    }

    public function context(): array
    {
        return ['kind' => 'invalid_argument', 'retry_safe' => false];
    }
}
