<?php

declare(strict_types=1);

namespace Unhang;

/**
 * How long a connection lives. Only {@see Wire::lines()} and {@see Wire::http()} show where a reply ends without the
 * connection's end, so only they can keep one.
 */
enum Keep: string
{
    /** A connection per call. Nothing can be left over from an earlier one. */
    case No = 'no';

    /** A connection per client object, closed with it. */
    case Request = 'request';

    /**
     * A connection per PHP worker, which outlives the script: php-fpm's next request uses it again. The server needs a
     * descriptor for every worker, that is pm.max_children of them for each pool.
     */
    case Worker = 'worker';
}
