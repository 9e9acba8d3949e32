<?php

declare(strict_types=1);

namespace Unhang\Exception;

/**
 * The server took a part of the request, answered that, and closed. Its reply is there, and it is no reply to the
 * request.
 */
final class RequestNotTakenException extends CallException
{
    /**
     * @param int $taken  bytes of the request that the server can have taken at most
     * @param int $length bytes of the request
     */
    public function __construct(
        string $path,
        #[\SensitiveParameter] string $reply,
        public readonly int $taken,
        public readonly int $length,
        int $errno = 0,
    ) {
        parent::__construct(
            self::server($path) . " took at most $taken of the $length bytes of the request, answered " . strlen($reply)
                . ' bytes, and closed. It may have acted on a part of the request, and its reply may be a part; it must'
                . ' read to the end first.',
            $path,
            $reply,
            $errno,
        );
    }

    protected function kind(): string
    {
        return 'request_not_taken';
    }

    protected function details(): array
    {
        return ['taken' => $this->taken, 'length' => $this->length];
    }
}
