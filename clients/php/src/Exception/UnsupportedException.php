<?php

declare(strict_types=1);

namespace Unhang\Exception;

/**
 * This PHP lacks a function that the client needs: its administrator has listed it in disable_functions.
 */
final class UnsupportedException extends \RuntimeException implements UnhangException
{
    public function isRetrySafe(): bool
    {
        return false;
    }

    public function fault(): Fault
    {
        return Fault::Setup;
    }

    public function context(): array
    {
        return ['kind' => 'unsupported', 'retry_safe' => false];
    }
}
