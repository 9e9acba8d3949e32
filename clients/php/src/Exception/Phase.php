<?php

declare(strict_types=1);

namespace Unhang\Exception;

/**
 * What a call was doing when its time ran out. A full queue is not among them: that is a {@see ConnectException} with
 * its own reason.
 */
enum Phase: string
{
    /** Nothing yet: earlier calls had used up the deadline that they shared with it. */
    case Connect = 'connect';

    case Send = 'send';
    case Receive = 'receive';
}
