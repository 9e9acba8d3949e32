<?php

declare(strict_types=1);

namespace Unhang\Connect;

use Unhang\Quietly;

/**
 * A connection and how it came to be.
 *
 * @internal
 */
final class Opened
{
    /**
     * @param resource $stream
     * @param bool     $reused it has carried an exchange before
     * @param bool     $kept   it may be given back
     */
    public function __construct(
        public readonly mixed $stream,
        public readonly bool $reused = false,
        public readonly bool $kept = false,
    ) {
    }

    /**
     * Whether an idle connection can carry the next request: the server has neither closed it nor said anything since.
     *
     * @param resource $stream
     */
    public static function isQuiet($stream): bool
    {
        $meta = stream_get_meta_data($stream);

        return $meta['unread_bytes'] === 0
            && !$meta['timed_out']
            // False means that there is nothing, and "" the end.
            && Quietly::run(static fn () => stream_socket_recvfrom($stream, 1, STREAM_PEEK)) === false;
    }
}
