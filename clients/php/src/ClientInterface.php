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
     * @throws UnhangException if there is no whole reply; its class says what happened
     */
    public function call(string $message): string;
}
