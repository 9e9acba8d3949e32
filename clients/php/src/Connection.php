<?php

declare(strict_types=1);

namespace Unhang;

use Unhang\Exception\ConnectionLostException;
use Unhang\Exception\NotClosedException;
use Unhang\Exception\Phase;
use Unhang\Exception\ReplyTooLargeException;
use Unhang\Exception\ServerErrorException;
use Unhang\Exception\TimeoutException;
use Unhang\Exception\UnhangException;

/**
 * One request and its reply on a connected, non-blocking stream.
 *
 * @internal
 */
final class Connection
{
    /** Bytes offered at a time, little more than a socket takes: the rest of a long request is not copied each time. */
    private const WRITE_SIZE = 256 * 1024;

    /** Bytes asked for at a time: a long reply in few system calls, a short one without much memory. */
    private const READ_SIZE = 64 * 1024;

    /** What `unhang serve` puts before the reason in the one line it sends in place of a reply. */
    private const ERROR_PREFIX = 'ERR ';

    private int $sent = 0;
    private bool $sending = true;
    private bool $receiving = true;
    private string $reply = '';
    private float $heardAt = 0.0;
    private int $errno = 0;

    /**
     * @param resource $stream
     */
    public function __construct(
        private readonly mixed $stream,
        private readonly string $path,
        private readonly Deadline $deadline,
        private readonly string $request,
        private readonly bool $halfClose,
        private readonly ReplyEnds $replyEnds,
        private readonly int $maxReply,
    ) {
    }

    /**
     * Sends and receives at the same time: a server that answers while it reads would wait for us as we wait for it.
     *
     * @throws UnhangException
     */
    public function exchange(): string
    {
        while ($this->sending || $this->receiving) {
            if ($this->deadline->passed()) {
                throw $this->late();
            }
            $this->wait();
            if ($this->sending) {
                $this->send();
            }
            if ($this->receiving) {
                $this->receive();
            }
        }

        return $this->outcome();
    }

    private function wait(): void
    {
        $read = $this->receiving ? [$this->stream] : [];
        $write = $this->sending ? [$this->stream] : [];
        $except = null;
        $left = $this->deadline->remainingMicroseconds();

        $ready = Quietly::run(fn () => stream_select($read, $write, $except, 0, $left));
        if ($ready === false) {
            // A signal came, or the process has more than 1,024 open files, which select() cannot handle. In both
            // cases trying again is right; the pause keeps the second from spinning.
            usleep(1000);
        }
    }

    private function send(): void
    {
        if ($this->sent < strlen($this->request)) {
            $bytes = substr($this->request, $this->sent, self::WRITE_SIZE);
            $taken = Quietly::run(fn () => fwrite($this->stream, $bytes), $warning);
            if ($taken === false) {
                // The server reads no more, but what it said before is still there to be received.
                $this->sending = false;
                $this->errno = preg_match('/errno=(\d+)/', (string) $warning, $m) ? (int) $m[1] : Errno::EPIPE;
                return;
            }
            $this->sent += $taken;
        }
        if ($this->sent === strlen($this->request)) {
            $this->sending = false;
            if ($this->halfClose) {
                Quietly::run(fn () => stream_socket_shutdown($this->stream, STREAM_SHUT_WR));
            }
        }
    }

    private function receive(): void
    {
        $bytes = Quietly::run(fn () => fread($this->stream, self::READ_SIZE));
        if ($bytes === '' || $bytes === false) {
            // Not feof(): that looks at the socket anew, and a reset since the read would pass for a clean end.
            if (stream_get_meta_data($this->stream)['eof']) {
                $this->ended(reset: $bytes === false);
            }
            return;
        }

        $newline = $this->replyEnds === ReplyEnds::AtNewline ? strpos($bytes, "\n") : false;
        $this->reply .= $newline === false ? $bytes : substr($bytes, 0, $newline + 1);
        $this->heardAt = $this->deadline->elapsed();
        if (strlen($this->reply) > $this->maxReply) {
            throw new ReplyTooLargeException($this->path, $this->maxReply);
        }
        if ($newline !== false) {
            $this->sending = $this->receiving = false;
        }
    }

    private function ended(bool $reset): void
    {
        $this->receiving = false;
        if ($reset) {
            // PHP does not tell why a read failed; on a connected Unix socket this is the only error there is.
            $this->errno = Errno::ECONNRESET;
        }
        // A clean end is no reason to stop sending: a server may finish its reply and still read. If it closed both
        // ways, the next write fails.
        if ($reset || $this->serverError() !== null) {
            $this->sending = false;
        }
    }

    private function outcome(): string
    {
        $error = $this->serverError();
        if ($error !== null) {
            throw new ServerErrorException($this->path, $error);
        }

        $whole = match ($this->replyEnds) {
            ReplyEnds::AtClose => $this->reply !== '' && $this->errno === 0,
            ReplyEnds::AtNewline => str_ends_with($this->reply, "\n"),
        };
        if (!$whole) {
            // An empty request is complete as soon as the connection is.
            $mayHaveRun = $this->sent > 0 || $this->request === '';
            throw new ConnectionLostException($this->path, $mayHaveRun, $this->reply, $this->errno);
        }

        return $this->reply;
    }

    private function serverError(): ?string
    {
        $isOneErrorLine = str_starts_with($this->reply, self::ERROR_PREFIX)
            && strpos($this->reply, "\n") === strlen($this->reply) - 1;

        return $isOneErrorLine ? substr($this->reply, strlen(self::ERROR_PREFIX), -1) : null;
    }

    private function late(): UnhangException
    {
        $elapsed = $this->deadline->elapsed();
        $timeout = $this->deadline->timeout;
        if ($this->replyEnds === ReplyEnds::AtClose && !$this->sending && $this->reply !== '') {
            return new NotClosedException($this->path, $this->reply, $elapsed - $this->heardAt, $timeout);
        }
        $phase = $this->sending ? Phase::Send : Phase::Receive;

        return new TimeoutException($this->path, $phase, $timeout, $elapsed, $this->reply);
    }
}
