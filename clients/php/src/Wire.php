<?php

declare(strict_types=1);

namespace Unhang;

use Unhang\Exception\InvalidArgumentException;
use Unhang\Reader\DelimiterReader;
use Unhang\Reader\HttpReader;
use Unhang\Reader\ReplyReader;

/**
 * How a request and its reply are written on a connection that may carry several of them.
 */
final class Wire
{
    /** Token characters (RFC 9110, section 5.6.2): what a method and a header's name are made of. */
    private const TOKEN = "/\\A[!#$%&'*+\\-.^_`|~0-9A-Za-z]+\\z/";

    /** These say where the message ends and what happens then: the client's own to write. */
    private const OURS = ['content-length', 'transfer-encoding', 'connection', 'upgrade', 'expect', 'te', 'trailer'];

    /**
     * @param \Closure(string, bool): string $encode a message, and whether the connection is kept, to bytes
     * @param \Closure(int): ReplyReader     $reader makes a reader for one reply of at most so many bytes
     * @param bool                           $keeps  whether the end of a reply shows while the connection lives on
     */
    private function __construct(
        private readonly \Closure $encode,
        private readonly \Closure $reader,
        public readonly bool $keeps,
        public readonly bool $halfCloses,
    ) {
    }

    /**
     * One line is the request, and one line the reply, given without its end. A message may have its end or get it.
     *
     * @param string $delimiter what ends a line: "\0" for varlink and `unhang serve --delimiter nul`
     *
     * @throws InvalidArgumentException
     */
    public static function lines(string $delimiter = "\n"): self
    {
        if ($delimiter === '') {
            throw new InvalidArgumentException('The delimiter of the lines is empty. Give "\n" or "\0".');
        }

        return new self(
            static fn (string $message): string => self::oneLine($message, $delimiter),
            static fn (int $max) => new DelimiterReader($delimiter, $max, strip: true),
            keeps: true,
            halfCloses: false,
        );
    }

    /**
     * HTTP/1.1: the message is the body of a request, the reply the body of the response. A status other than 2xx is a
     * {@see Exception\ServerErrorException}.
     *
     * @param string                $target  path and query
     * @param array<string, string> $headers by name
     *
     * @throws InvalidArgumentException
     */
    public static function http(string $method = 'POST', string $target = '/', array $headers = []): self
    {
        if (preg_match(self::TOKEN, $method) !== 1) {
            throw new InvalidArgumentException('"' . Printable::text($method) . '" is no HTTP method.');
        }
        if (preg_match('~\A/[\x21-\x7E]*\z~', $target) !== 1) {
            throw new InvalidArgumentException(
                'The target must begin with / and have no spaces or control characters, but it is "'
                    . Printable::text($target) . '". rawurlencode() its parts.'
            );
        }
        $head = self::headers(array_change_key_case($headers) + ['host' => 'localhost']);

        return new self(
            static fn (string $body, bool $kept): string => "$method $target HTTP/1.1\r\n$head"
                . ($body === '' && in_array($method, ['GET', 'HEAD', 'DELETE', 'OPTIONS'], true)
                    ? ''
                    : 'content-length: ' . strlen($body) . "\r\n")
                . ($kept ? "\r\n" : "connection: close\r\n\r\n")
                . $body,
            static fn (int $max) => new HttpReader($method, $max),
            keeps: true,
            halfCloses: false,
        );
    }

    /**
     * The message as it is, one connection, and a reply that ends as the server shows it.
     *
     * @internal
     */
    public static function oneShot(ReplyEnds $replyEnds, bool $halfClose): self
    {
        return new self(
            static fn (string $message): string => $message,
            $replyEnds->reader(...),
            keeps: false,
            halfCloses: $halfClose,
        );
    }

    /**
     * @internal
     * @throws InvalidArgumentException
     */
    public function encode(#[\SensitiveParameter] string $message, bool $kept): string
    {
        return ($this->encode)($message, $kept);
    }

    /**
     * @internal
     */
    public function reader(int $maxReply): ReplyReader
    {
        return ($this->reader)($maxReply);
    }

    /** Two lines would be two requests, and the second reply would answer the next call. */
    private static function oneLine(#[\SensitiveParameter] string $message, string $delimiter): string
    {
        $at = strpos($message, $delimiter);
        if ($at === false) {
            return $message . $delimiter;
        }
        if ($at + strlen($delimiter) < strlen($message)) {
            throw new InvalidArgumentException(sprintf(
                'The message must be one line, but it goes on for %d bytes behind the first "%s".'
                    . ' Make a call of each line, or encode the message, for example as JSON.',
                strlen($message) - $at - strlen($delimiter),
                Printable::text($delimiter),
            ));
        }

        return $message;
    }

    /**
     * @param array<string, string> $headers
     */
    private static function headers(array $headers): string
    {
        $lines = '';
        foreach ($headers as $name => $value) {
            if (preg_match(self::TOKEN, (string) $name) !== 1 || in_array($name, self::OURS, true)) {
                throw new InvalidArgumentException(
                    'The header "' . Printable::text((string) $name) . '" cannot be set: it is no header\'s name, or'
                        . ' the client writes it by itself.'
                );
            }
            if (preg_match('/[\x00-\x08\x0A-\x1F\x7F]/', $value) === 1) {
                throw new InvalidArgumentException(
                    "The header $name contains a control character: \"" . Printable::text($value) . '".'
                );
            }
            $lines .= "$name: $value\r\n";
        }

        return $lines;
    }
}
