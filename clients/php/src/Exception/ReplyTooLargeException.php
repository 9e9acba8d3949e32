<?php

declare(strict_types=1);

namespace Unhang\Exception;

/**
 * The reply was longer than the client's limit; what had come of it was thrown away.
 */
final class ReplyTooLargeException extends CallException
{
    /**
     * @param int $limit bytes
     */
    public function __construct(string $path, public readonly int $limit)
    {
        parent::__construct(
            'The server at ' . self::place($path) . " sent more than the $limit bytes allowed for a reply."
                . ' If it may, give the client a greater maxReply.',
            $path,
        );
    }

    protected function details(): array
    {
        return ['limit' => $this->limit];
    }
}
