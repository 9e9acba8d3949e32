<?php

declare(strict_types=1);

namespace Unhang\Exception;

/**
 * On everything this package throws: catch this to catch it all.
 */
interface UnhangException extends \Throwable
{
    /**
     * Whether the server cannot have seen any of the request, so that sending it again does nothing twice.
     */
    public function isRetrySafe(): bool;

    public function fault(): Fault;

    /**
     * What happened, in short plain values for a structured log. Laravel puts it into its log by itself. It has
     * nothing of the request, and of the reply only its size and the reason of an error.
     *
     * @return array<string, scalar|null>
     */
    public function context(): array;
}
