<?php
while (($line = fgets(STDIN)) !== false) {
    [$id, $request] = explode(' ', rtrim($line, "\n"), 2);
    echo "$id " . strtoupper($request) . "\n"; // one string: PHP writes each one by itself
}
