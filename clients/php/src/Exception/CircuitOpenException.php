<?php

declare(strict_types=1);

namespace Unhang\Exception;

use Unhang\Printable;

/**
 * The server was not called: it had failed too often, and a circuit breaker spares it for a while.
 */
final class CircuitOpenException extends \RuntimeException implements UnhangException
{
    /**
     * @param string $name       what the circuit breaker calls the server
     * @param float  $retryAfter seconds until one call is let through
     */
    public function __construct(public readonly string $name, public readonly float $retryAfter)
    {
        parent::__construct(sprintf(
            '%s was not called: the calls before this one failed, so it is spared for %.1f s more.'
                . ' The exceptions of those calls say why.',
            Printable::text($name),
            $retryAfter,
        ));
    }

    public function isRetrySafe(): bool
    {
        return true;
    }

    public function fault(): Fault
    {
        return Fault::Server;
    }

    public function context(): array
    {
        return [
            'kind' => 'circuit_open',
            'server' => Printable::text($this->name),
            'retry_after' => round($this->retryAfter, 3),
            'retry_safe' => true,
        ];
    }
}
