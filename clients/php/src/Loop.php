<?php

declare(strict_types=1);

namespace Unhang;

/**
 * Steps exchanges until all have ended, and waits only when none can go on.
 *
 * @internal
 */
final class Loop
{
    /** Microseconds. About what an exchange with a fast server takes. */
    private const FIRST_PAUSE = 20;

    /** Microseconds. A thousand looks a second cost little, and a reply is noticed soon. */
    private const LONGEST_PAUSE = 1000;

    /** Microseconds until the next look, if select() cannot be used. */
    private int $pause = self::FIRST_PAUSE;

    /**
     * @param array<Exchange> $exchanges
     */
    public static function run(array $exchanges): void
    {
        $loop = new self();
        try {
            for ($open = $exchanges; $open !== [];) {
                $stuck = true;
                foreach ($open as $key => $exchange) {
                    $stuck = !$exchange->step() && $stuck;
                    if ($exchange->result() !== null) {
                        unset($open[$key]);
                    }
                }
                if ($stuck) {
                    $loop->wait($open);
                } else {
                    $loop->pause = self::FIRST_PAUSE;
                }
            }
        } finally {
            // Also when a signal handler throws.
            foreach ($exchanges as $exchange) {
                $exchange->abandon();
            }
        }
    }

    /**
     * @param array<Exchange> $exchanges
     */
    private function wait(array $exchanges): void
    {
        $read = $write = [];
        $patience = INF;
        foreach ($exchanges as $exchange) {
            $patience = min($patience, $exchange->patience());
            $stream = $exchange->stream();
            if ($stream !== null && $exchange->waitsToReceive()) {
                $read[] = $stream;
            }
            if ($stream !== null && $exchange->waitsToSend()) {
                $write[] = $stream;
            }
        }
        // Rounded up: rounded down, the last fraction of a microsecond would be spent spinning.
        $left = (int) ceil($patience * 1e6);
        if ($read === [] && $write === []) {
            usleep($left);
            return;
        }
        $except = null;
        $ready = Quietly::run(static fn () => stream_select($read, $write, $except, 0, $left), $warning);
        if ($ready === false && str_contains((string) $warning, 'FD_SETSIZE')) {
            // The process has a descriptor above 1,023, which select() does not know, and PHP has no other way to wait
            // for several things. Anything else is a signal, after which the exchanges look at their clocks again.
            usleep(min($this->pause, $left));
            $this->pause = min(2 * $this->pause, self::LONGEST_PAUSE);
        }
    }
}
