<?php

declare(strict_types=1);

namespace Unhang;

use Unhang\Exception\UnhangException;

/**
 * What your code should ask for, so that a test can give it a {@see Testing\FakeClient}.
 */
interface ClientInterface
{
    /**
     * Sends one message and returns the whole reply.
     *
     * @param float|Deadline|null $timeout seconds for this call, or a deadline that other calls share; null for the
     *                                     client's own timeout
     *
     * @throws UnhangException if there is no whole reply; its class says what happened
     */
    public function call(#[\SensitiveParameter] string $message, float|Deadline|null $timeout = null): string;
}
