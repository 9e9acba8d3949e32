<?php

declare(strict_types=1);

namespace Unhang;

use Unhang\Exception\ConnectException;
use Unhang\Exception\ConnectFailure;

/**
 * Opens the stream. On a Unix socket connecting succeeds or fails at once; only a full accept queue is worth a wait.
 *
 * @internal
 */
final readonly class Connector
{
    /** Seconds. A busy server takes the next connection within about a millisecond. */
    private const FIRST_PAUSE = 0.001;

    /** Seconds. Twenty attempts a second cost nothing, and a free place is still found soon. */
    private const LONGEST_PAUSE = 0.05;

    public function __construct(private Address $address, private Deadline $deadline)
    {
    }

    /**
     * @return resource a non-blocking stream
     * @throws ConnectException
     */
    public function connect()
    {
        for ($pause = self::FIRST_PAUSE;; $pause = min(2 * $pause, self::LONGEST_PAUSE)) {
            $stream = $this->attempt($errno, $error);
            if ($stream !== false) {
                stream_set_blocking($stream, false);
                // Else PHP reads 8 KiB at a time into a buffer of its own.
                stream_set_read_buffer($stream, 0);
                return $stream;
            }
            if ($errno !== Errno::EAGAIN || $this->deadline->passed()) {
                throw $this->failure($errno, $error);
            }
            // A random share of the pause, or all the clients that wait would come back in step.
            $pauseNow = $pause * random_int(500, 1000) / 1000;
            usleep((int) (1e6 * min($pauseNow, $this->deadline->remaining())));
        }
    }

    /**
     * @return resource|false
     */
    private function attempt(?int &$errno, ?string &$error)
    {
        return Quietly::run(function () use (&$errno, &$error) {
            return stream_socket_client(
                $this->address->url(),
                $errno,
                $error,
                $this->deadline->remaining(),
                STREAM_CLIENT_CONNECT,
            );
        });
    }

    private function failure(int $errno, string $error): ConnectException
    {
        // The kernel says "refused" for a file that is no socket, too.
        $impostor = $errno === Errno::ECONNREFUSED ? $this->address->impostor() : null;

        $reason = match ($errno) {
            Errno::ENOENT, Errno::ENOTDIR => ConnectFailure::NoSuchFile,
            Errno::ECONNREFUSED => $impostor ? ConnectFailure::NotAStreamSocket : ConnectFailure::NobodyListens,
            Errno::EACCES => ConnectFailure::PermissionDenied,
            Errno::EPROTOTYPE => ConnectFailure::NotAStreamSocket,
            Errno::EAGAIN => ConnectFailure::QueueFull,
            default => ConnectFailure::Other,
        };
        $found = $impostor ? "it is $impostor" : $error;

        return new ConnectException($this->address->path, $reason, $errno, $found, $this->deadline->elapsed());
    }
}
