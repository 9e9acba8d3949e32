<?php

declare(strict_types=1);

namespace Unhang\Connect;

use Unhang\Address;
use Unhang\Errno;
use Unhang\Quietly;

/**
 * Tries to connect, once and without waiting: on a Unix socket that succeeds or fails at once.
 *
 * @internal
 */
final class Connector
{
    public int $errno = 0;
    public string $error = '';

    public function __construct(public readonly Address $address)
    {
    }

    /**
     * @return resource|null a non-blocking stream; if null, errno and error say why
     */
    public function attempt()
    {
        $name = self::hasSockets() ? $this->address->forSockets() : null;

        $stream = $name === null ? $this->stream(STREAM_CLIENT_CONNECT) : $this->socket($name);

        return $stream === null ? null : self::prepare($stream, refused: $name !== null);
    }

    /**
     * A stream that outlives the script: the one of this address, if the worker has one. One that was not used before
     * has to be prepared.
     *
     * @return resource|null
     */
    public function attemptPersistent()
    {
        return $this->stream(STREAM_CLIENT_CONNECT | STREAM_CLIENT_PERSISTENT);
    }

    /**
     * @param resource $stream
     * @param bool     $refused passed descriptors are refused already
     *
     * @return resource
     */
    public static function prepare($stream, bool $refused = false)
    {
        stream_set_blocking($stream, false);
        // Else PHP reads 8 KiB at a time into a buffer of its own.
        stream_set_read_buffer($stream, 0);
        if (!$refused && self::hasSockets()) {
            // A moment late: streams cannot do it before they connect.
            Quietly::run(static fn () => PassedDescriptors::refuse(socket_import_stream($stream)));
        }

        return $stream;
    }

    /**
     * By ext/sockets, because streams cannot set an option before they connect.
     *
     * @return resource|null
     */
    private function socket(string $name)
    {
        return Quietly::run(function () use ($name) {
            $socket = socket_create(AF_UNIX, SOCK_STREAM, 0);
            if ($socket === false) {
                return $this->failed(socket_last_error());
            }
            PassedDescriptors::refuse($socket);
            // Else connecting would wait for a place in the queue, without a deadline.
            socket_set_nonblock($socket);
            if (!socket_connect($socket, $name)) {
                return $this->failed(socket_last_error($socket));
            }

            return socket_export_stream($socket) ?: null;
        });
    }

    /**
     * @return resource|null
     */
    private function stream(int $flags)
    {
        $stream = Quietly::run(function () use ($flags) {
            // A Unix socket that has no place in its queue fails at once, whatever the timeout.
            return stream_socket_client($this->address->url(), $this->errno, $this->error, 0.0, $flags);
        });
        if ($stream === false) {
            $this->errno = $this->errno ?: self::shortOfDescriptors();
            return null;
        }

        return $stream;
    }

    private function failed(int $errno): null
    {
        $this->errno = $errno;
        $this->error = socket_strerror($errno);

        return null;
    }

    /** Streams do not tell the number if they cannot make a socket; another file says what is wrong. */
    private static function shortOfDescriptors(): int
    {
        $file = Quietly::run(static fn () => fopen('/dev/null', 'r'), $warning);
        if ($file !== false) {
            fclose($file);
            return 0;
        }

        return match (true) {
            str_contains((string) $warning, 'Too many open files in system') => Errno::ENFILE,
            str_contains((string) $warning, 'Too many open files') => Errno::EMFILE,
            default => 0,
        };
    }

    /** The extension may be missing, and so may any of its functions. */
    private static function hasSockets(): bool
    {
        static $has = null;

        return $has ??= array_filter(
            [
                'socket_create',
                'socket_set_option',
                'socket_set_nonblock',
                'socket_connect',
                'socket_export_stream',
                'socket_import_stream',
                'socket_last_error',
                'socket_strerror',
            ],
            static fn (string $function): bool => !function_exists($function),
        ) === [];
    }
}
