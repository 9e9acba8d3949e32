<?php

declare(strict_types=1);

namespace Unhang\Exception;

/**
 * A call that brought no whole reply.
 */
abstract class CallException extends \RuntimeException implements UnhangException
{
    /**
     * @param string $path  where the server was called
     * @param int    $errno the system's error number, also given by getCode(); 0 if there is none
     */
    public function __construct(string $message, public readonly string $path, public readonly int $errno = 0)
    {
        parent::__construct($message, $errno);
    }

    final protected static function seconds(float $seconds): string
    {
        return round($seconds, 3) . ' s';
    }
}
