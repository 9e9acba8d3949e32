<?php

declare(strict_types=1);

namespace Unhang\Tests\Unit;

use PHPUnit\Framework\TestCase;
use Unhang\Deadline;

final class DeadlineTest extends TestCase
{
    public function testCountsDownToZeroAndNotBelow(): void
    {
        $deadline = new Deadline(0.02);
        self::assertFalse($deadline->passed());
        self::assertGreaterThan(0.0, $deadline->remaining());

        usleep(30_000);
        self::assertTrue($deadline->passed());
        self::assertGreaterThan(0.02, $deadline->elapsed());
        self::assertSame(0.0, $deadline->remaining());
    }
}
