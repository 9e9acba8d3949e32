<?php

declare(strict_types=1);

namespace Unhang\Connect;

use Unhang\Deadline;
use Unhang\Errno;
use Unhang\Exception\ConnectException;
use Unhang\Exception\ConnectFailure;

/**
 * Connecting, again and again while the server's queue is full. It never waits by itself.
 *
 * @internal
 */
final class Attempts
{
    /** Seconds. A busy server takes the next connection within about a millisecond. */
    private const FIRST_PAUSE = 0.001;

    /** Seconds. Twenty attempts a second cost nothing, and a free place is still found soon. */
    private const LONGEST_PAUSE = 0.05;

    /** By the deadline's clock, which other calls may share. */
    private readonly float $begunAt;

    /** By the deadline's clock: when to try again. */
    private float $nextAt = 0.0;
    private float $pause = self::FIRST_PAUSE;
    private bool $tried = false;

    public function __construct(private readonly Connections $connections, private readonly Deadline $deadline)
    {
        $this->begunAt = $deadline->elapsed();
    }

    /**
     * @param bool $anew not a connection that was used before
     *
     * @return Opened|null null if it is not time yet, or the queue was full
     * @throws ConnectException if trying again would help nothing
     */
    public function next(bool $anew): ?Opened
    {
        if ($this->deadline->elapsed() < $this->nextAt) {
            return null;
        }
        $this->tried = true;
        $connection = $this->connections->open($anew);
        if ($connection !== null) {
            return $connection;
        }
        if ($this->connections->connector->errno !== Errno::EAGAIN) {
            throw $this->failure();
        }
        // A random share of the pause, or all the clients that wait would come back in step.
        $this->nextAt = $this->deadline->elapsed() + $this->pause * random_int(500, 1000) / 1000;
        $this->pause = min(2 * $this->pause, self::LONGEST_PAUSE);

        return null;
    }

    /**
     * Seconds until the next attempt.
     */
    public function patience(): float
    {
        return max(0.0, $this->nextAt - $this->deadline->elapsed());
    }

    /**
     * Whether the server was tried at all: with a deadline that others share, there may have been no time.
     */
    public function hasTried(): bool
    {
        return $this->tried;
    }

    /**
     * Why the last attempt failed.
     */
    public function failure(): ConnectException
    {
        $connector = $this->connections->connector;
        // The kernel says "refused" for a file that is no socket, too.
        $refused = $connector->errno === Errno::ECONNREFUSED;
        $impostor = $refused ? $connector->address->impostor() : null;

        return new ConnectException(
            $connector->address->path,
            match ($connector->errno) {
                Errno::ENOENT, Errno::ENOTDIR => ConnectFailure::NoSuchFile,
                Errno::ECONNREFUSED => $impostor ? ConnectFailure::NotAStreamSocket : ConnectFailure::NobodyListens,
                Errno::EACCES => ConnectFailure::PermissionDenied,
                Errno::EPROTOTYPE => ConnectFailure::NotAStreamSocket,
                Errno::EAGAIN => ConnectFailure::QueueFull,
                Errno::EMFILE, Errno::ENFILE => ConnectFailure::NoDescriptorLeft,
                default => ConnectFailure::Other,
            },
            $connector->errno,
            $impostor ? "it is $impostor" : $connector->error,
            $this->deadline->elapsed() - $this->begunAt,
            deletedFile: $refused && $connector->address->isDeleted(),
        );
    }
}
