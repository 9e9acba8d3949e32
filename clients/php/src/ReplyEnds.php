<?php

declare(strict_types=1);

namespace Unhang;

/**
 * How the server shows that its reply is complete.
 */
enum ReplyEnds
{
    /** The server closes or half-closes the connection: the reply is every byte until then. */
    case AtClose;

    /**
     * The reply is one line: everything up to the first newline, which is kept. It is returned as soon as it is there,
     * whatever the server does afterwards; bytes behind it are dropped.
     */
    case AtNewline;
}
