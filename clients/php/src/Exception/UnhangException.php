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

    /**
     * What happened, in short plain values for a structured log. Laravel puts it into its log by itself. It has
     * nothing of the request or the reply but their sizes.
     *
     * @return array<string, scalar|null>
     */
    public function context(): array;
}
