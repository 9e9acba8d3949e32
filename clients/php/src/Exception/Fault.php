<?php

declare(strict_types=1);

namespace Unhang\Exception;

/**
 * Whose fault it was, as far as the client can tell.
 */
enum Fault: string
{
    /** The code that calls. */
    case Caller = 'caller';

    /** How the two were put together: the path, the rights, a server that was not started, a limit of this process. */
    case Setup = 'setup';

    case Server = 'server';
    case Unclear = 'unclear';
}
