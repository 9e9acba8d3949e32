<?php

declare(strict_types=1);

namespace Unhang\Reader;

use Unhang\Printable;

/**
 * Everything up to the first delimiter, which stays part of the reply.
 *
 * @internal
 */
final class DelimiterReader extends ReplyReader
{
    public function __construct(private readonly string $delimiter, int $maxReply)
    {
        parent::__construct($maxReply);
    }

    public function length(string $bytes, int $known): ?int
    {
        // The delimiter may have come in two pieces.
        $at = strpos($bytes, $this->delimiter, max(0, $known - strlen($this->delimiter) + 1));

        return $at === false ? null : $at + strlen($this->delimiter);
    }

    public function missing(): string
    {
        return $this->delimiter === "\n"
            ? 'a newline'
            : 'the delimiter "' . Printable::text($this->delimiter, 40) . '"';
    }

    public function reusable(): bool
    {
        return true;
    }
}
