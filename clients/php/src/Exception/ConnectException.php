<?php

declare(strict_types=1);

namespace Unhang\Exception;

use Unhang\Printable;

/**
 * There was no connection, so the server saw nothing of the request: repeating it is safe.
 */
final class ConnectException extends CallException
{
    /**
     * @param string $found       what the system said, or what was found at the path
     * @param float  $elapsed     seconds spent trying; only a full queue is tried more than once
     * @param bool   $deletedFile what is at the path is a file that was deleted elsewhere, still mounted here
     */
    public function __construct(
        string $path,
        public readonly ConnectFailure $reason,
        int $errno = 0,
        string $found = '',
        public readonly float $elapsed = 0.0,
        bool $deletedFile = false,
    ) {
        $advice = match ($reason) {
            ConnectFailure::NoSuchFile
                => 'Start the server, or correct the path. A service with PrivateTmp=yes has a /tmp of its own.',
            ConnectFailure::NobodyListens => match (true) {
                $deletedFile
                    => 'This is a mount of a deleted file (its link count is 0): the server has made a new one since.'
                        . ' Mount the directory, not the socket.',
                // An abstract name is gone with its server.
                str_starts_with($path, '@') => 'Nobody listens on it: start the server.',
                default => 'Nobody listens on it: start the server. The file of a server that was killed stays behind.',
            },
            ConnectFailure::PermissionDenied
                => 'The user who calls needs write permission on the socket, and x on every directory above it.',
            ConnectFailure::NotAStreamSocket
                => 'Only a stream socket can be called: correct the path.',
            ConnectFailure::QueueFull
                => 'The server listens, but its queue of waiting connections stayed full for '
                    . self::seconds($elapsed) . ': it is stuck or overloaded.',
            ConnectFailure::NoDescriptorLeft
                => 'The server is not to blame: no file descriptor is left on this side. Raise the limit (ulimit -n,'
                    . ' LimitNOFILE= of the service, rlimit_files of php-fpm), or find what leaves files open.',
            ConnectFailure::Other
                => 'The fault is probably on this side.',
        };
        $because = $found === '' ? '' : " ($found)";
        $message = 'Cannot connect to ' . Printable::text($path) . "$because. $advice";
        parent::__construct($message, $path, errno: $errno);
    }

    public function isRetrySafe(): bool
    {
        return true;
    }

    public function fault(): Fault
    {
        return $this->reason === ConnectFailure::QueueFull ? Fault::Server : Fault::Setup;
    }

    protected function kind(): string
    {
        return $this->reason->value;
    }

    protected function details(): array
    {
        return ['elapsed' => round($this->elapsed, 3)];
    }
}
