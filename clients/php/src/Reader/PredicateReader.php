<?php

declare(strict_types=1);

namespace Unhang\Reader;

/**
 * Asks the application after each piece whether what has come is a whole reply.
 *
 * @internal
 */
final class PredicateReader extends ReplyReader
{
    /**
     * @param \Closure(string): bool $isWhole
     */
    public function __construct(private readonly \Closure $isWhole, int $maxReply)
    {
        parent::__construct($maxReply);
    }

    public function length(string $bytes, int $known): ?int
    {
        return ($this->isWhole)($bytes) ? strlen($bytes) : null;
    }

    public function missing(): string
    {
        return 'what the predicate of ReplyEnds::when() takes for a whole reply';
    }
}
