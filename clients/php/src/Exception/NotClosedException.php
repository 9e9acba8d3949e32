<?php

declare(strict_types=1);

namespace Unhang\Exception;

/**
 * A reply came, but the server had not closed the connection at the deadline, so nothing says that it is complete.
 */
final class NotClosedException extends CallException
{
    /** Of the timeout: silent for less than this, the server may have been sending still. */
    private const SHORT = 0.1;

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
        $mayBeComing = $silentFor < self::SHORT * $timeout;
        parent::__construct(sprintf(
            $mayBeComing
                ? 'The server at %s sent %d bytes, the last of them %s before the timeout of %s: its reply may still'
                    . ' have been coming, so raise the timeout. If the reply was whole, the server must close or'
                    . ' half-close the connection after it.'
                : 'The server at %s sent %d bytes, then nothing for %s, and did not close the connection within %s.'
                    . ' It must close or half-close the connection after its reply; or, if each reply ends with a'
                    . ' newline, use ReplyEnds::AtNewline.',
            $path,
            strlen($reply),
            self::seconds($silentFor),
            self::seconds($timeout),
        ), $path);
    }
}
