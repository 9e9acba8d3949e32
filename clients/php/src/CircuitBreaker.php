<?php

declare(strict_types=1);

namespace Unhang;

use Unhang\Circuit\ApcuStore;
use Unhang\Circuit\CircuitStore;
use Unhang\Circuit\ProcessStore;
use Unhang\Exception\CircuitOpenException;
use Unhang\Exception\ConnectException;
use Unhang\Exception\ConnectionLostException;
use Unhang\Exception\InvalidArgumentException;
use Unhang\Exception\NotClosedException;
use Unhang\Exception\Phase;
use Unhang\Exception\TimeoutException;
use Unhang\Exception\UnhangException;
use Unhang\Exception\UnsupportedException;

/**
 * Spares a server that does not answer, and the pages that would wait for it: after several failures in a row, calls
 * fail at once. After a while one call is let through; if it is answered, all are.
 */
final class CircuitBreaker implements ClientInterface
{
    private readonly CircuitStore $store;

    /**
     * @param string            $name     what all callers of the same server call it
     * @param int               $failures in a row; one may be bad luck, and at five that is unlikely
     * @param float             $openFor  seconds without a call. A server is back within some seconds of its restart,
     *                                    and one worker that waits for a timeout each five seconds is no burden
     * @param CircuitStore|null $store    which processes share the knowledge: null for all workers of the pool if APCu
     *                                    is there, else this process alone (with php-fpm that is this one request)
     *
     * @throws InvalidArgumentException
     */
    public function __construct(
        private readonly ClientInterface $client,
        private readonly string $name,
        private readonly int $failures = 5,
        private readonly float $openFor = 5.0,
        ?CircuitStore $store = null,
    ) {
        if ($failures < 1 || !($openFor > 0 && $openFor <= Deadline::LONGEST)) {
            throw new InvalidArgumentException(sprintf(
                'A circuit breaker needs at least 1 failure to open, and opens for more than 0 and at most %d seconds,'
                    . ' but these are %d and %s.',
                Deadline::LONGEST,
                $failures,
                $openFor,
            ));
        }
        $this->store = $store ?? (ApcuStore::isUsable() ? new ApcuStore() : new ProcessStore());
    }

    public function call(#[\SensitiveParameter] string $message, float|Deadline|null $timeout = null): string
    {
        $this->letThrough();
        try {
            $reply = $this->client->call($message, $timeout);
        } catch (UnhangException $e) {
            match ($this->isFailure($e)) {
                true => $this->failed(),
                false => $this->store->reset($this->name),
                null => null,
            };
            throw $e;
        }
        $this->store->reset($this->name);

        return $reply;
    }

    /**
     * @throws CircuitOpenException
     */
    private function letThrough(): void
    {
        $until = $this->store->openUntil($this->name);
        if ($until === 0) {
            return;
        }
        $now = hrtime(true);
        // Only one caller moves the time on, and that one may try. If it dies, the next may when the time has passed.
        if ($now < $until || !$this->store->move($this->name, $until, $this->later())) {
            throw new CircuitOpenException($this->name, max(0, $until - $now) / 1e9);
        }
    }

    private function failed(): void
    {
        if ($this->store->failed($this->name) >= $this->failures) {
            $this->store->open($this->name, $this->later());
        }
    }

    /**
     * Null if the server was not asked.
     */
    private function isFailure(UnhangException $e): ?bool
    {
        return match (true) {
            $e instanceof InvalidArgumentException,
            $e instanceof UnsupportedException,
            $e instanceof CircuitOpenException,
            $e instanceof TimeoutException && $e->phase === Phase::Connect => null,
            $e instanceof ConnectException,
            $e instanceof TimeoutException,
            $e instanceof NotClosedException,
            $e instanceof ConnectionLostException => true,
            // It answered, if not what was hoped for.
            default => false,
        };
    }

    private function later(): int
    {
        return hrtime(true) + (int) ($this->openFor * 1e9);
    }
}
