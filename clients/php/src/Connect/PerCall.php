<?php

declare(strict_types=1);

namespace Unhang\Connect;

/**
 * {@see \Unhang\Keep::No}: nothing is kept.
 *
 * @internal
 */
final class PerCall extends Connections
{
    public function open(bool $anew): ?Opened
    {
        $stream = $this->connector->attempt();

        return $stream === null ? null : new Opened($stream);
    }

    public function giveBack(Opened $connection): void
    {
        $this->close($connection);
    }
}
