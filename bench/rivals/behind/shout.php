<?php
// The same function as the workers', for php-fpm.
echo strtoupper(rtrim(file_get_contents('php://input'), "\n")), "\n";
