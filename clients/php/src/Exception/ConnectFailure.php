<?php

declare(strict_types=1);

namespace Unhang\Exception;

enum ConnectFailure: string
{
    /** Nothing is at the path. */
    case NoSuchFile = 'no_such_file';

    /** The socket is there, but its server is gone. */
    case NobodyListens = 'nobody_listens';

    /** This user may not write to the socket, or not enter a directory above it. */
    case PermissionDenied = 'permission_denied';

    /** A file, a directory, or a datagram or packet socket. */
    case NotAStreamSocket = 'not_a_stream_socket';

    /** A server listens, but took no connection from its queue until the deadline. */
    case QueueFull = 'queue_full';

    /** This process, or the whole system, cannot open one more file. */
    case NoDescriptorLeft = 'no_descriptors';

    /** Anything else; the errno and the message tell. */
    case Other = 'cannot_connect';
}
