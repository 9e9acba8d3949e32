<?php

declare(strict_types=1);

namespace Unhang;

/**
 * Keeps PHP's warnings about a broken connection away from the application's error handler, which "@" does not do:
 * many handlers turn every warning into an exception, suppressed or not.
 *
 * @internal
 */
final class Quietly
{
    /**
     * @template T
     * @param \Closure(): T $operation
     * @param-out ?string   $warning what PHP said about it
     * @return T
     */
    public static function run(\Closure $operation, ?string &$warning = null): mixed
    {
        $warning = null;
        set_error_handler(static function (int $level, string $message, string $file) use (&$warning): bool {
            if (!str_starts_with($file, __DIR__ . '/')) {
                // A signal handler of the application ran in the middle; PHP's log must not lose its warning.
                return false;
            }
            $warning = $message;
            return true;
        });
        try {
            return $operation();
        } finally {
            restore_error_handler();
        }
    }
}
