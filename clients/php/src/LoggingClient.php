<?php

declare(strict_types=1);

namespace Unhang;

use Psr\Log\LoggerInterface;
use Psr\Log\LogLevel;
use Unhang\Exception\CircuitOpenException;
use Unhang\Exception\UnhangException;

/**
 * Writes every call into a PSR-3 log: how it ended, how long it took and how many bytes went each way, never the bytes
 * themselves.
 */
final class LoggingClient implements ClientInterface
{
    /**
     * @param string $name     how the log names the server
     * @param string $answered the level of a call that went well; a failure is an error, one that a circuit breaker
     *                         spared the server is a notice
     */
    public function __construct(
        private readonly ClientInterface $client,
        private readonly LoggerInterface $logger,
        private readonly string $name = 'unhang',
        private readonly string $answered = LogLevel::DEBUG,
    ) {
    }

    public function call(#[\SensitiveParameter] string $message, float|Deadline|null $timeout = null): string
    {
        $start = hrtime(true);
        $context = ['server' => $this->name, 'request_bytes' => strlen($message)];
        try {
            $reply = $this->client->call($message, $timeout);
        } catch (UnhangException $e) {
            $this->logger->log(
                $e instanceof CircuitOpenException ? LogLevel::NOTICE : LogLevel::ERROR,
                '{server}: ' . $e->getMessage(),
                $context + ['seconds' => self::since($start), 'exception' => $e] + $e->context(),
            );
            throw $e;
        }
        $this->logger->log(
            $this->answered,
            '{server}: answered {reply_bytes} bytes in {seconds} s',
            $context + ['seconds' => self::since($start), 'reply_bytes' => strlen($reply)],
        );

        return $reply;
    }

    private static function since(int $start): float
    {
        return round((hrtime(true) - $start) / 1e9, 6);
    }
}
