<?php

declare(strict_types=1);

namespace Unhang\Tests\Fault;

use Unhang\Client;
use Unhang\Tests\Support\Process;
use Unhang\Tests\Support\SocketTestCase;

/**
 * A test against one of the bad servers in server.php.
 */
abstract class FaultTestCase extends SocketTestCase
{
    protected function serve(string $behaviour, ?string $path = null, string $argument = ''): Process
    {
        $command = [PHP_BINARY, __DIR__ . '/server.php', $behaviour, $path ?? $this->path(), $argument];

        return $this->start($command, "ready\n");
    }

    /**
     * A client with time enough: what it is tested for must not depend on the machine's speed.
     */
    protected function client(mixed ...$arguments): Client
    {
        return new Client(...$arguments + ['path' => $this->path(), 'timeout' => 20.0]);
    }

    /**
     * A client that must give up soon.
     */
    protected function impatientClient(mixed ...$arguments): Client
    {
        return $this->client(...$arguments + ['timeout' => 0.3]);
    }
}
