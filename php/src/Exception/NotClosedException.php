<?php

declare(strict_types=1);

namespace Unhang\Exception;

/**
 * A reply came, but the server had not closed the connection at the deadline, so nothing says that it is complete.
 */
final class NotClosedException extends CallException
{
    /**
     * @param string $reply     what came; perhaps all of it
     * @param float  $silentFor seconds since its last byte: if this is short, the reply was still coming
     * @param float  $timeout   seconds allowed
     */
    public function __construct(
        string $path,
        public readonly string $reply,
        public readonly float $silentFor,
        public readonly float $timeout,
    ) {
        parent::__construct(sprintf(
            'The server at %s sent %d bytes, then nothing for %s, and did not close the connection within %s.'
                . ' It must close or half-close the connection after its reply; or, if each reply ends with a newline,'
                . ' use ReplyEnds::AtNewline.',
            $path,
            strlen($reply),
            self::seconds($silentFor),
            self::seconds($timeout),
        ), $path);
    }
}
