<?php

declare(strict_types=1);

// The tests run with Composer's autoloader and without it: the package needs nothing but itself.
spl_autoload_register(static function (string $class): void {
    foreach (['Unhang\\Tests\\' => __DIR__, 'Unhang\\' => dirname(__DIR__) . '/src'] as $prefix => $directory) {
        if (str_starts_with($class, $prefix)) {
            $file = $directory . '/' . strtr(substr($class, strlen($prefix)), '\\', '/') . '.php';
            if (is_file($file)) {
                require $file;
            }
            return;
        }
    }
});
