<?php

declare(strict_types=1);

namespace Unhang\Exception;

/**
 * There was no connection, so the server saw nothing of the request: repeating it is safe.
 */
final class ConnectException extends CallException
{
    /**
     * @param string $found   what the system said, or what was found at the path
     * @param float  $elapsed seconds spent trying; only a full queue is tried more than once
     */
    public function __construct(
        string $path,
        public readonly ConnectFailure $reason,
        int $errno = 0,
        string $found = '',
        public readonly float $elapsed = 0.0,
    ) {
        $advice = match ($reason) {
            ConnectFailure::NoSuchFile
                => 'Start the server, or correct the path. A service with PrivateTmp=yes has a /tmp of its own.',
            ConnectFailure::NobodyListens
                => 'Nobody listens on it: start the server.'
                    // An abstract name is gone with its server.
                    . (str_starts_with($path, '@') ? '' : ' The file of a server that was killed stays behind.'),
            ConnectFailure::PermissionDenied
                => 'The user who calls needs write permission on the socket, and x on every folder above it.',
            ConnectFailure::NotAStreamSocket
                => 'Only a stream socket can be called: correct the path.',
            ConnectFailure::QueueFull
                => 'The server listens, but its queue of waiting connections stayed full for '
                    . self::seconds($elapsed) . ': it is stuck or overloaded.',
            ConnectFailure::Other
                => 'The fault is probably on this side.',
        };
        $because = $found === '' ? '' : " ($found)";
        parent::__construct("Cannot connect to $path$because. $advice", $path, $errno);
    }
}
