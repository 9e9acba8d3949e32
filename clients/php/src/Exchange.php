<?php

declare(strict_types=1);

namespace Unhang;

use Unhang\Connect\Attempts;
use Unhang\Connect\Connections;
use Unhang\Connect\Obstacle;
use Unhang\Connect\Opened;
use Unhang\Connect\PassedDescriptors;
use Unhang\Exception\ConnectionLostException;
use Unhang\Exception\DescriptorsPassedException;
use Unhang\Exception\NotClosedException;
use Unhang\Exception\Phase;
use Unhang\Exception\ProtocolException;
use Unhang\Exception\ReplyTooLargeException;
use Unhang\Exception\RequestNotTakenException;
use Unhang\Exception\ServerErrorException;
use Unhang\Exception\TimeoutException;
use Unhang\Exception\UnhangException;
use Unhang\Reader\CloseReader;
use Unhang\Reader\Malformed;
use Unhang\Reader\ReplyReader;

/**
 * One request and its reply, from connecting to the end. It never waits: {@see step()} does what can be done at once,
 * and then it says what is missing and until when.
 *
 * @internal
 */
final class Exchange
{
    /** Bytes offered at a time, little more than a socket takes: the rest of a long request is not copied each time. */
    private const WRITE_SIZE = 256 * 1024;

    /** Bytes asked for at a time: a long reply in few system calls, a short one without much memory. */
    private const READ_SIZE = 64 * 1024;

    /** After the deadline: enough for what one socket holds, and an end to a server that sends without one. */
    private const LAST_READS = 64;

    private string|UnhangException|null $outcome = null;
    private ?Opened $connection = null;
    private readonly ReplyReader $reader;

    private Attempts $attempts;

    /** A connection that was kept has failed before it took anything. */
    private bool $anew = false;

    private int $sent = 0;
    private bool $sending = true;
    private bool $receiving = true;
    private string $received = '';
    private int $examined = 0;
    private float $heardAt = 0.0;
    private int $errno = 0;

    /**
     * @param string $request as it goes over the connection
     */
    public function __construct(
        private readonly Connections $connections,
        private readonly Wire $wire,
        private readonly Deadline $deadline,
        #[\SensitiveParameter] private readonly string $request,
        private readonly int $maxReply,
    ) {
        $this->reader = $wire->reader($maxReply);
        $this->attempts = new Attempts($connections, $deadline);
    }

    /**
     * Whether it has come any further.
     */
    public function step(): bool
    {
        try {
            if ($this->deadline->passed()) {
                $this->lookOnceMore();
                return true;
            }
            if ($this->connection === null) {
                $this->connection = $this->attempts->next($this->anew);
                return $this->connection !== null;
            }
            $sent = $this->sending && $this->send();
            $received = $this->receiving && $this->receive();
            if (!$this->sending && !$this->receiving) {
                $this->finish($this->conclusion());
            }

            return $sent || $received || $this->outcome !== null;
        } catch (UnhangException $e) {
            $this->finish($e);
            return true;
        }
    }

    /**
     * The reply, or why there is none; null until then.
     */
    public function result(): string|UnhangException|null
    {
        return $this->outcome;
    }

    /**
     * Gives up if it has not ended, as when a signal handler throws.
     */
    public function abandon(): void
    {
        if ($this->connection !== null) {
            $this->connections->close($this->connection);
            $this->connection = null;
        }
    }

    /**
     * @return resource|null
     */
    public function stream()
    {
        return $this->connection?->stream;
    }

    public function waitsToSend(): bool
    {
        return $this->sending;
    }

    public function waitsToReceive(): bool
    {
        return $this->receiving;
    }

    /**
     * Seconds after which it wants another step, whatever happens.
     */
    public function patience(): float
    {
        $left = $this->deadline->remaining();
        if ($this->connection === null) {
            return min($left, $this->attempts->patience());
        }
        $silence = $this->silenceLeft();

        return $silence === null ? $left : min($left, max(0.0, $silence));
    }

    /**
     * A reply that came while the caller was held up, by a busy machine or a signal handler, is not lost.
     */
    private function lookOnceMore(): void
    {
        for ($reads = 0; $reads < self::LAST_READS && $this->connection !== null && $this->receiving; $reads++) {
            if (!$this->receive()) {
                break;
            }
        }
        if ($this->outcome === null) {
            $this->finish($this->sending || $this->receiving ? $this->late() : $this->conclusion());
        }
    }

    private function send(): bool
    {
        $before = $this->sent;
        if ($this->sent < strlen($this->request)) {
            $bytes = substr($this->request, $this->sent, self::WRITE_SIZE);
            $taken = Quietly::run(fn () => fwrite($this->connection->stream, $bytes), $warning);
            if ($taken === false) {
                $this->sendFailed($warning);
                return true;
            }
            $this->sent += $taken;
        }
        if ($this->sent === strlen($this->request)) {
            $this->sending = false;
            if ($this->wire->halfCloses) {
                Quietly::run(fn () => stream_socket_shutdown($this->connection->stream, STREAM_SHUT_WR));
            }
        }

        return !$this->sending || $this->sent > $before;
    }

    private function sendFailed(?string $warning): void
    {
        if ($this->connection->reused && $this->sent === 0 && $this->received === '') {
            // The server ended the kept connection while it was idle. It has nothing of this request, so a new
            // connection may carry it; that one is not "reused", so this happens once.
            $this->abandon();
            $this->anew = true;
            $this->attempts = new Attempts($this->connections, $this->deadline);
            return;
        }
        // The server reads no more, but what it said before is still there to be received.
        $this->sending = false;
        $this->errno = preg_match('/errno=(\d+)/', (string) $warning, $m) ? (int) $m[1] : Errno::EPIPE;
    }

    private function receive(): bool
    {
        if ($this->connection === null) {
            return false;
        }
        $bytes = PassedDescriptors::read($this->connection->stream, self::READ_SIZE, $obstacle);
        if ($obstacle === Obstacle::Reset) {
            $this->ended(reset: true);
            return true;
        }
        if ($bytes === '' || $bytes === false) {
            // Not feof(): that looks at the socket anew, and a reset since the read would pass for a clean end.
            if (stream_get_meta_data($this->connection->stream)['eof']) {
                $this->ended(reset: $bytes === false);
                return true;
            }
            return $this->fellSilent();
        }

        $this->received .= $bytes;
        $this->heardAt = $this->deadline->elapsed();
        $this->examine();
        if ($obstacle === Obstacle::Descriptors && $this->outcome === null) {
            throw new DescriptorsPassedException($this->path(), $this->received);
        }

        return true;
    }

    /**
     * Whether the reply has ended because nothing came for so long.
     */
    private function fellSilent(): bool
    {
        $silence = $this->silenceLeft();
        $this->receiving = $silence === null || $silence > 0.0;

        return !$this->receiving;
    }

    /**
     * Looks for the end of the reply in what has come.
     */
    private function examine(): void
    {
        $limit = $this->reader->limit();
        try {
            $length = $this->reader->length($this->received, $this->examined);
            $this->examined = strlen($this->received);
        } catch (Malformed $malformed) {
            if (ErrorLine::reason($this->received) !== null) {
                $this->sending = $this->receiving = false;
                return;
            }
            if (ErrorLine::mayCome($this->received) && strlen($this->received) <= $limit) {
                return;
            }
            throw $malformed->tooLong
                ? new ReplyTooLargeException($this->path(), $this->maxReply)
                : new ProtocolException($this->path(), $malformed->getMessage(), $this->received);
        }
        if (($length ?? $this->examined) > $limit) {
            throw new ReplyTooLargeException($this->path(), $this->maxReply);
        }
        if ($length !== null) {
            $clean = $this->sent === strlen($this->request) && $length === strlen($this->received);
            $this->received = substr($this->received, 0, $length);
            $this->finish($this->replyOrError(), reusable: $clean && $this->reader->reusable());
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
        $mayStillRead = !$reset
            && ErrorLine::reason($this->received) === null
            && $this->reader->wholeAtClose($this->received);
        $this->sending = $this->sending && $mayStillRead;
    }

    /**
     * What came of a connection that brings nothing more.
     */
    private function conclusion(): string|UnhangException
    {
        $whole = $this->errno === 0 && $this->reader->wholeAtClose($this->received);

        return $whole || ErrorLine::reason($this->received) !== null ? $this->replyOrError() : $this->lost();
    }

    private function replyOrError(): string|ServerErrorException
    {
        $reason = ErrorLine::reason($this->received);
        if ($reason !== null) {
            return new ServerErrorException($this->path(), $reason, reply: $this->received);
        }
        try {
            return $this->reader->reply($this->received, $this->path());
        } catch (ServerErrorException $e) {
            return $e;
        }
    }

    private function finish(string|UnhangException $outcome, bool $reusable = false): void
    {
        $this->outcome = $outcome;
        if ($reusable && $this->connection !== null) {
            $this->connections->giveBack($this->connection);
            $this->connection = null;
        }
        $this->abandon();
    }

    private function silenceLeft(): ?float
    {
        $silence = $this->sending || $this->received === '' ? null : $this->reader->silence();

        return $silence === null ? null : $this->heardAt + $silence - $this->deadline->elapsed();
    }

    private function lost(): ConnectionLostException|RequestNotTakenException
    {
        $length = strlen($this->request);
        if ($this->sent < $length && $this->reader->wholeAtClose($this->received)) {
            return new RequestNotTakenException($this->path(), $this->received, $this->sent, $length, $this->errno);
        }

        return new ConnectionLostException(
            $this->path(),
            // An empty request is complete as soon as the connection is.
            $this->sent > 0 || $this->request === '',
            $this->received,
            $this->errno,
            $this->reader->missing(),
            halfClosed: $this->wire->halfCloses && $this->sent === $length,
        );
    }

    private function late(): UnhangException
    {
        $elapsed = $this->deadline->elapsed();
        $timeout = $this->deadline->timeout;
        if ($this->connection === null) {
            return $this->attempts->hasTried()
                ? $this->attempts->failure()
                : new TimeoutException($this->path(), Phase::Connect, $timeout, $elapsed);
        }
        if ($this->reader instanceof CloseReader && !$this->sending && $this->received !== '') {
            return new NotClosedException($this->path(), $this->received, $elapsed - $this->heardAt, $timeout);
        }

        return new TimeoutException(
            $this->path(),
            $this->sending ? Phase::Send : Phase::Receive,
            $timeout,
            $elapsed,
            $this->received,
            $this->reader->missing(),
        );
    }

    private function path(): string
    {
        return $this->connections->connector->address->path;
    }
}
