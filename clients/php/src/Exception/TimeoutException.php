<?php

declare(strict_types=1);

namespace Unhang\Exception;

use Unhang\Advice;

/**
 * The deadline passed before a whole reply. Unless the phase is Connect, the server has the request or a part of it,
 * and may still act on it. If the reply ends by the close, and some of it had come, see {@see NotClosedException}.
 */
final class TimeoutException extends CallException
{
    /**
     * @param float  $timeout seconds allowed
     * @param float  $elapsed seconds spent
     * @param string $missing what would have ended the reply
     */
    public function __construct(
        string $path,
        public readonly Phase $phase,
        public readonly float $timeout,
        public readonly float $elapsed,
        #[\SensitiveParameter] string $reply = '',
        string $missing = 'a newline',
    ) {
        $within = 'within ' . self::seconds($timeout);
        $what = match (true) {
            $phase === Phase::Connect
                => 'was not called: earlier calls used up all of the ' . self::seconds($timeout)
                    . ' that they shared with this one.',
            $phase === Phase::Send
                => "did not take the whole request $within: it reads too slowly, or not at all.",
            $reply === ''
                => "took the request and sent nothing $within. It is still working, or it waits for more:"
                    . ' a newline, or a half-close if that is switched off.',
            default
                => 'sent ' . strlen($reply) . " bytes without $missing $within, and did not close. "
                    . Advice::onEnd($reply),
        };
        parent::__construct(self::server($path) . " $what", $path, $reply);
    }

    public function isRetrySafe(): bool
    {
        return $this->phase === Phase::Connect;
    }

    public function fault(): Fault
    {
        return match (true) {
            $this->phase === Phase::Connect => Fault::Caller,
            $this->phase === Phase::Send || $this->reply !== '' => Fault::Server,
            default => Fault::Unclear,
        };
    }

    protected function kind(): string
    {
        return 'timeout';
    }

    protected function details(): array
    {
        return [
            'phase' => $this->phase->value,
            'timeout' => $this->timeout,
            'elapsed' => round($this->elapsed, 3),
        ];
    }
}
