<?php

declare(strict_types=1);

namespace Unhang\Reader;

use Unhang\Printable;

/**
 * Everything up to the first delimiter.
 *
 * @internal
 */
final class DelimiterReader extends ReplyReader
{
    /**
     * @param bool $strip take the delimiter off the reply
     */
    public function __construct(private readonly string $delimiter, int $maxReply, private readonly bool $strip = false)
    {
        parent::__construct($maxReply);
    }

    public function length(string $bytes, int $known): ?int
    {
        // The delimiter may have come in two pieces.
        $at = strpos($bytes, $this->delimiter, max(0, $known - strlen($this->delimiter) + 1));

        return $at === false ? null : $at + strlen($this->delimiter);
    }

    public function reply(string $bytes, string $path): string
    {
        return $this->strip ? substr($bytes, 0, -strlen($this->delimiter)) : $bytes;
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
