<?php

declare(strict_types=1);

namespace Unhang\Exception;

/**
 * The server passed file descriptors along with its reply, and this kernel (older than Linux 6.16) cannot refuse them.
 * The client read no further: some take as long to close as the server likes.
 */
final class DescriptorsPassedException extends CallException
{
    public function __construct(string $path, #[\SensitiveParameter] string $reply = '')
    {
        parent::__construct(
            self::server($path) . ' passed file descriptors along with its reply, after ' . strlen($reply) . ' bytes.'
                . ' Closing them could hold this process past its deadline, so nothing more was read. No server has to'
                . ' do that to answer: find out who serves the path.',
            $path,
            $reply,
        );
    }

    protected function kind(): string
    {
        return 'descriptors_passed';
    }
}
