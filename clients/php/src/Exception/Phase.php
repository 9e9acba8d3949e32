<?php

declare(strict_types=1);

namespace Unhang\Exception;

/**
 * What a call was doing when its time ran out. Connecting is not among them: on a Unix socket only a full queue makes
 * it wait, and that is a {@see ConnectException} with its own reason.
 */
enum Phase
{
    case Send;
    case Receive;
}
