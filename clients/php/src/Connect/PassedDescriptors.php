<?php

declare(strict_types=1);

namespace Unhang\Connect;

use Unhang\Errno;
use Unhang\Quietly;

/**
 * What a server passes along with its bytes (SCM_RIGHTS, unix(7)). Nobody here wants any, and a descriptor that nobody
 * takes is closed by the reader: a TCP socket with SO_LINGER may make that close last as long as its sender likes.
 *
 * Linux 6.16 and newer refuse them for us. On older kernels the client looks before it reads, reads nothing that has
 * some, and lets a child process close what lies unread: the kernel does not linger for a process that ends. Without
 * ext/sockets there is no way to do either.
 *
 * @internal
 */
final class PassedDescriptors
{
    /** Linux 6.16, include/uapi/asm-generic/socket.h; PHP has no name for it. */
    private const SO_PASSRIGHTS = 83;

    /** A variable only for the tests, which pretend that the kernel is older. */
    private static int $option = self::SO_PASSRIGHTS;

    /** Null while no connection has asked, and for ever without ext/sockets. */
    private static ?bool $kernelRefuses = null;

    public static function refuse(\Socket $socket): void
    {
        self::$kernelRefuses = socket_set_option($socket, SOL_SOCKET, self::$option, 0);
    }

    /**
     * As fread() on a non-blocking stream.
     *
     * @param resource $stream
     * @param-out Obstacle|null $obstacle if there is one, nothing more may be read
     */
    public static function read($stream, int $most, ?Obstacle &$obstacle): string|false
    {
        $obstacle = null;
        if (self::mustLook()) {
            $socket = socket_import_stream($stream);
            // Of a control buffer too small for one descriptor, the kernel says that it was too small, and gives none.
            $message = ['buffer_size' => $most, 'controllen' => 1];
            $seen = Quietly::run(static function () use ($socket, &$message) {
                return socket_recvmsg($socket, $message, MSG_PEEK | MSG_DONTWAIT);
            });
            if ($seen === false) {
                $obstacle = socket_last_error() === Errno::EAGAIN ? null : Obstacle::Reset;
                return '';
            }
            if (($message['flags'] & MSG_CTRUNC) !== 0) {
                // They belong to these bytes or to the next ones. These are good, and may be the end of a reply.
                $obstacle = Obstacle::Descriptors;
                return $message['iov'][0];
            }
            // Not more than was looked at: what has come since may have some. At the end there is nothing to look at.
            $most = $seen ?: $most;
        }

        return Quietly::run(static fn () => fread($stream, $most));
    }

    /**
     * Closes a connection, and does not wait for what lies unread in it.
     *
     * @param resource $stream
     */
    public static function close($stream): void
    {
        if (self::mustLook()) {
            // From here on nothing more can come.
            Quietly::run(static fn () => stream_socket_shutdown($stream, STREAM_SHUT_RD));
            $unread = Quietly::run(static fn () => stream_socket_recvfrom($stream, 1, STREAM_PEEK));
            if (is_string($unread) && $unread !== '') {
                self::closeElsewhere($stream);
                return;
            }
        }
        fclose($stream);
    }

    private static function mustLook(): bool
    {
        return self::$kernelRefuses === false
            && function_exists('socket_recvmsg')
            && function_exists('socket_sendmsg');
    }

    /**
     * @param resource $stream
     */
    private static function closeElsewhere($stream): void
    {
        if (!function_exists('proc_open')) {
            fclose($stream);
            return;
        }
        $process = Quietly::run(static function () use ($stream, &$pipes) {
            $quiet = ['file', '/dev/null', 'w'];
            $files = [['file', '/dev/null', 'r'], $quiet, $quiet, ['pipe', 'r'], self::forAChild($stream)];
            // The shell ends at once; its child holds the connection until the pipe ends, after we have closed.
            return proc_open(['/bin/sh', '-c', '(read -r end <&3) &'], $files, $pipes);
        });
        fclose($stream);
        if ($process !== false) {
            // Closes the pipe first, and waits for the shell alone.
            proc_close($process);
        }
    }

    /**
     * PHP gives no persistent stream to a child. It goes into a socket that the child holds, and ends with that.
     *
     * @param resource $stream
     *
     * @return resource
     */
    private static function forAChild($stream)
    {
        if (get_resource_type($stream) !== 'persistent stream') {
            return $stream;
        }
        [$held, $from] = stream_socket_pair(STREAM_PF_UNIX, STREAM_SOCK_STREAM, 0);
        $control = ['level' => SOL_SOCKET, 'type' => SCM_RIGHTS, 'data' => [$stream]];
        socket_sendmsg(socket_import_stream($from), ['iov' => ['x'], 'control' => [$control]], 0);

        return $held;
    }
}
