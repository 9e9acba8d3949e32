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
            self::server($path) . " sent more than the $limit bytes allowed for a reply."
                . ' If it may, give the client a greater maxReply.',
            $path,
        );
    }

    public function fault(): Fault
    {
        return Fault::Unclear;
    }

    protected function kind(): string
    {
        return 'reply_too_large';
    }

    protected function details(): array
    {
        return ['limit' => $this->limit];
    }
}
