<?php

declare(strict_types=1);

namespace Unhang;

use Unhang\Connect\Connections;
use Unhang\Connect\Connector;
use Unhang\Connect\PerCall;
use Unhang\Connect\PerClient;
use Unhang\Connect\PerWorker;
use Unhang\Exception\InvalidArgumentException;
use Unhang\Exception\UnhangException;
use Unhang\Exception\UnsupportedException;

/**
 * Calls a server on a Unix stream socket, with one deadline for the whole call.
 */
final class Client implements ClientInterface
{
    /** An eighth of PHP's default memory_limit (128 MiB): a reply this long can still be worked on. */
    public const MAX_REPLY = 16 * 1024 * 1024;

    private Wire $wire;
    private readonly Connections $connections;

    /**
     * @param string         $path      the socket file, or "@name" for an abstract socket
     * @param float          $timeout   seconds for connecting, sending and receiving together, at most 600
     * @param ReplyEnds|null $replyEnds how the server shows that its reply is complete; null means by closing the
     *                                  connection
     * @param int            $maxReply  bytes; a longer reply is refused, not cut
     * @param bool|null      $halfClose tell the server that the request is complete by closing the sending side; false
     *                                  for a server that takes this for the end of the conversation, as Node.js does by
     *                                  default; null means true, except on a wire
     * @param Wire|null      $wire      lines or HTTP; null means that message and reply are the bytes themselves
     * @param Keep           $keep      whether a connection carries more than one call, which needs a wire
     *
     * @throws InvalidArgumentException
     */
    public function __construct(
        string $path,
        private readonly float $timeout = 5.0,
        ?ReplyEnds $replyEnds = null,
        private readonly int $maxReply = self::MAX_REPLY,
        ?bool $halfClose = null,
        ?Wire $wire = null,
        private readonly Keep $keep = Keep::No,
    ) {
        $connector = new Connector(new Address($path));
        self::supported(static fn () => new Deadline($timeout)); // Refuses what no call could use.
        if ($maxReply < 1) {
            throw new InvalidArgumentException(sprintf(
                'The longest allowed reply must be at least 1 byte, but it is %d. Leave maxReply out for %d.',
                $maxReply,
                self::MAX_REPLY,
            ));
        }
        if ($wire !== null && ($replyEnds !== null || $halfClose === true)) {
            throw new InvalidArgumentException(
                'A wire says itself where a request and a reply end: leave replyEnds and halfClose out.'
            );
        }
        if ($wire === null && $keep !== Keep::No) {
            throw new InvalidArgumentException(
                'A connection can only be kept if replies end without it: give a wire, Wire::lines() or Wire::http().'
            );
        }

        $this->wire = $wire ?? Wire::oneShot($replyEnds ?? ReplyEnds::close(), $halfClose ?? true);
        $this->connections = match ($keep) {
            Keep::No => new PerCall($connector),
            Keep::Request => new PerClient($connector),
            Keep::Worker => new PerWorker($connector),
        };
    }

    /**
     * The same client with another wire, sharing its connections: each HTTP request may have a target of its own.
     *
     * @throws InvalidArgumentException
     */
    public function withWire(Wire $wire): self
    {
        $client = clone $this;
        $client->wire = $wire;

        return $client;
    }

    public function call(#[\SensitiveParameter] string $message, float|Deadline|null $timeout = null): string
    {
        $result = self::supported(function () use ($message, $timeout): string|UnhangException {
            $exchange = $this->exchange($message, self::deadline($timeout ?? $this->timeout));
            Loop::run([$exchange]);
            return $exchange->result();
        });

        return is_string($result) ? $result : throw $result;
    }

    /**
     * Makes several calls at the same time, under one deadline, each on a connection of its own. One that fails has its
     * exception in place of its reply, and the others go on.
     *
     *     $replies = Client::all(['user' => [$users, 'get 5'], 'stock' => [$stock, 'count 7']], timeout: 1.0);
     *
     * Other implementations of the interface, such as a decorated client, are called one after another behind these.
     *
     * @template K of array-key
     * @param array<K, array{ClientInterface, string}> $calls   client and message
     * @param float|Deadline                           $timeout for all of them together
     *
     * @return array<K, string|UnhangException> under the same keys, in the same order
     * @throws InvalidArgumentException
     */
    public static function all(#[\SensitiveParameter] array $calls, float|Deadline $timeout): array
    {
        return self::supported(static function () use ($calls, $timeout): array {
            $deadline = self::deadline($timeout);
            $exchanges = $others = [];
            foreach ($calls as $key => $call) {
                [$client, $message] = self::pair($key, $call);
                if ($client instanceof self) {
                    $exchanges[$key] = $client->exchange($message, $deadline);
                } else {
                    $others[$key] = [$client, $message];
                }
            }
            Loop::run($exchanges);
            $results = array_map(static fn (Exchange $exchange) => $exchange->result(), $exchanges);
            foreach ($others as $key => [$client, $message]) {
                try {
                    $results[$key] = $client->call($message, $deadline);
                } catch (UnhangException $e) {
                    $results[$key] = $e;
                }
            }

            return array_replace($calls, $results);
        });
    }

    private function exchange(#[\SensitiveParameter] string $message, Deadline $deadline): Exchange
    {
        $request = $this->wire->encode($message, $this->keep !== Keep::No);

        return new Exchange($this->connections, $this->wire, $deadline, $request, $this->maxReply);
    }

    /**
     * @template T
     * @param \Closure(): T $work
     *
     * @return T
     * @throws UnsupportedException
     */
    private static function supported(\Closure $work): mixed
    {
        try {
            return $work();
        } catch (\Error $e) {
            // PHP takes a function that disable_functions names for one that does not exist.
            $isOurs = str_starts_with($e->getFile(), __DIR__ . '/');
            $undefined = '/^Call to undefined function (?:.*\\\\)?(\w+)\(\)$/';
            if ($isOurs && preg_match($undefined, $e->getMessage(), $m) === 1) {
                throw new UnsupportedException(
                    "PHP here has no function $m[1](), and the client cannot do without it: take it out of"
                        . ' disable_functions in php.ini or in the configuration of the php-fpm pool.',
                    previous: $e,
                );
            }
            throw $e;
        }
    }

    private static function deadline(float|Deadline $timeout): Deadline
    {
        return $timeout instanceof Deadline ? $timeout : new Deadline($timeout);
    }

    /**
     * @return array{ClientInterface, string}
     */
    private static function pair(int|string $key, mixed $call): array
    {
        if (!is_array($call) || !(($call[0] ?? null) instanceof ClientInterface) || !is_string($call[1] ?? null)) {
            throw new InvalidArgumentException(
                "Call \"$key\" must be a pair of client and message, as in [\$client, 'hello']."
            );
        }

        return [$call[0], $call[1]];
    }
}
