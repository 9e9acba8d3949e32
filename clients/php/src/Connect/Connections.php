<?php

declare(strict_types=1);

namespace Unhang\Connect;

/**
 * Where the connections of one client come from, and where they go.
 *
 * @internal
 */
abstract class Connections
{
    public function __construct(public readonly Connector $connector)
    {
    }

    /**
     * @param bool $anew not one that was used before
     *
     * @return Opened|null null if there is none; the connector has the reason
     */
    abstract public function open(bool $anew): ?Opened;

    /**
     * After a whole reply with nothing behind it.
     */
    abstract public function giveBack(Opened $connection): void;

    /**
     * After anything else: a late reply would be taken for the answer to the next call.
     */
    public function close(Opened $connection): void
    {
        PassedDescriptors::close($connection->stream);
    }
}
