<?php

declare(strict_types=1);

namespace Unhang\Reader;

/**
 * Every byte until the connection ends; or, with a limit on silence, until nothing has come for so long.
 *
 * @internal
 */
final class CloseReader extends ReplyReader
{
    public function __construct(int $maxReply, private readonly ?float $silence = null)
    {
        parent::__construct($maxReply);
    }

    public function length(string $bytes, int $known): ?int
    {
        return null;
    }

    /** An empty reply looks the same as a server that died. */
    public function wholeAtClose(string $bytes): bool
    {
        return $bytes !== '';
    }

    public function silence(): ?float
    {
        return $this->silence;
    }

    public function missing(): string
    {
        return $this->silence === null ? 'the end of the connection' : "a silence of $this->silence s";
    }
}
