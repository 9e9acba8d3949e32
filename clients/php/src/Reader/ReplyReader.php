<?php

declare(strict_types=1);

namespace Unhang\Reader;

use Unhang\Exception\ServerErrorException;

/**
 * Finds the end of one reply in what has come so far: pure bytes, no clock and no connection.
 *
 * @internal
 */
abstract class ReplyReader
{
    public function __construct(protected readonly int $maxReply)
    {
    }

    /**
     * @param string $bytes everything that has come
     * @param int    $known how many of them the reader has seen before
     *
     * @return int|null how many of the bytes are the reply; null if it is not whole yet
     * @throws Malformed if no reply can come of it
     */
    abstract public function length(string $bytes, int $known): ?int;

    /**
     * What was not seen, for a message: "a newline", "the end of the JSON".
     */
    abstract public function missing(): string;

    /**
     * Whether the bytes are a whole reply if the connection ends after them. Only asked if length() found no end.
     */
    public function wholeAtClose(string $bytes): bool
    {
        return false;
    }

    /**
     * What the caller gets of the bytes of a whole reply.
     *
     * @throws ServerErrorException if the reply says that the request was refused
     */
    public function reply(string $bytes, string $path): string
    {
        return $bytes;
    }

    /**
     * The most bytes that a reply may take on the connection.
     */
    public function limit(): int
    {
        return $this->maxReply;
    }

    /**
     * Seconds without a byte after which the bytes are taken for a whole reply; null if silence says nothing.
     */
    public function silence(): ?float
    {
        return null;
    }

    /**
     * Whether the connection may carry another request after a whole reply.
     */
    public function reusable(): bool
    {
        return false;
    }
}
