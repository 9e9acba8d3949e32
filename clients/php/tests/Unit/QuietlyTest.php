<?php

declare(strict_types=1);

namespace Unhang\Tests\Unit;

use PHPUnit\Framework\TestCase;
use Unhang\Address;
use Unhang\Quietly;

final class QuietlyTest extends TestCase
{
    public function testPutsTheApplicationsHandlerBackEvenAfterAnException(): void
    {
        $handler = static fn (): bool => true;
        set_error_handler($handler);
        try {
            Quietly::run(static fn () => throw new \RuntimeException('from inside'));
        } catch (\RuntimeException) {
        }
        $found = set_error_handler(null);
        restore_error_handler();
        restore_error_handler();

        self::assertSame($handler, $found);
    }

    public function testKeepsOurWarningsToItself(): void
    {
        $handled = 0;
        set_error_handler(static function () use (&$handled): bool {
            $handled++;
            return true;
        });
        $logged = self::logged(static fn () => (new Address('/does/not/exist'))->impostor());
        restore_error_handler();

        self::assertSame(0, $handled);
        self::assertSame('', $logged);
    }

    public function testLeavesForeignWarningsToPhp(): void
    {
        $logged = self::logged(static function () use (&$warning): void {
            Quietly::run(static fn () => trigger_error('not ours', E_USER_WARNING), $warning);
        });

        self::assertNull($warning);
        self::assertStringContainsString('not ours', $logged);
    }

    /**
     * What PHP itself reports meanwhile.
     */
    private static function logged(\Closure $operation): string
    {
        $log = (string) tempnam(sys_get_temp_dir(), 'unhang-log');
        $settings = ['error_log' => $log, 'log_errors' => '1', 'display_errors' => '0'];
        $before = array_map('ini_get', array_combine(array_keys($settings), array_keys($settings)));
        array_map('ini_set', array_keys($settings), $settings);
        $operation();
        array_map('ini_set', array_keys($before), $before);
        $logged = (string) file_get_contents($log);
        unlink($log);

        return $logged;
    }
}
