<?php

declare(strict_types=1);

namespace Unhang\Exception;

/**
 * The server gave an error in place of a reply: exactly one line, "ERR" and the reason.
 */
final class ServerErrorException extends CallException
{
    /**
     * @param string $reason in the server's own words
     */
    public function __construct(string $path, public readonly string $reason)
    {
        parent::__construct("The server at $path answered with an error: $reason", $path);
    }
}
