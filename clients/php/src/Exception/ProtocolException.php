<?php

declare(strict_types=1);

namespace Unhang\Exception;

use Unhang\Printable;

/**
 * The reply cannot be what the client was told to expect, such as JSON or HTTP.
 */
final class ProtocolException extends CallException
{
    /** Bytes. Enough to recognise what it is. */
    private const SHOWN = 60;

    /**
     * @param string $expected "JSON", "a chunk's size"
     * @param string $reply    what had come
     */
    public function __construct(
        string $path,
        public readonly string $expected,
        #[\SensitiveParameter] string $reply,
    ) {
        parent::__construct(
            self::server($path) . " sent something else than $expected. What it sent begins with \""
                . Printable::text($reply, self::SHOWN)
                . '". Compare replyEnds or wire with what the server speaks.',
            $path,
            $reply,
        );
    }

    protected function kind(): string
    {
        return 'malformed_reply';
    }

    protected function details(): array
    {
        return ['expected' => $this->expected];
    }
}
