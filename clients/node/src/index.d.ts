/** Bytes, or text that is sent as UTF-8. */
export type Message = string | Uint8Array;

export interface Settings {
  /** Milliseconds for connecting, sending and receiving together; 5000 unless given, at most 600000. */
  timeout?: number;
  /** Bytes; 16 MiB unless given. */
  maxReply?: number;
}

export interface CallOptions {
  /** Milliseconds, for this call. */
  timeout?: number;
  /** Ends the call: its connection is closed at once, and the promise rejects with `signal.reason`. */
  signal?: AbortSignal;
}

/** How the server shows that its reply is complete. */
export interface Ends {
  readonly scanner: unknown;
}

/** The server closes or half-closes: the reply is every byte until then. The default. */
export function atClose(): Ends;
/** The reply is one line, up to and with its newline. */
export function atNewline(): Ends;
/** The reply is everything up to and with the first `delimiter`. */
export function atDelimiter(delimiter: Message): Ends;
/** The reply's length comes first, as an unsigned number; 4 bytes, 'big', unless given. It is not part of the reply. */
export function atLength(size?: 1 | 2 | 4 | 8, order?: 'big' | 'little'): Ends;
/** The reply is one JSON value. */
export function atJson(): Ends;
/** `whole` gets all bytes so far; it returns how many the reply has, or undefined for not yet. */
export function atPredicate(whole: (reply: Buffer) => number | boolean | null | undefined): Ends;
/** A guess, for servers that show no end: so many milliseconds without a byte, after the first one. */
export function atSilence(milliseconds: number): Ends;

/** Calls a server that answers once: one connection and one deadline for each call. */
export class Client {
  /** `path`: the socket, or "@name" for an abstract one. */
  constructor(
    path: string,
    options?: Settings & {
      ends?: Ends;
      /** false for a server that takes a half-close for the end of everything. */
      halfClose?: boolean;
    },
  );
  call(message: Message, options?: CallOptions): Promise<Buffer>;
}

/** Calls a server that answers each line with a line. */
export class LineClient {
  constructor(path: string, options?: Settings);
  /** The line that answers, without its newline. */
  call(line: Message, options?: CallOptions): Promise<Buffer>;
  /** Closes the idle connections. The client may still be used. */
  close(): void;
}

export type Headers = Record<string, string> | Array<[string, string]>;

/** Calls an HTTP/1.1 server. An error status is a Response like any other. */
export class HttpClient {
  constructor(path: string, options?: Settings);
  request(
    method: string,
    target: string,
    options?: CallOptions & { headers?: Headers; body?: Message },
  ): Promise<Response>;
  /** Closes the idle connections. The client may still be used. */
  close(): void;
}

export class Response {
  private constructor();
  readonly status: number;
  readonly headers: Array<[string, string]>;
  readonly body: Buffer;
  /** The first of this name, in any case. */
  header(name: string): string | undefined;
}

export type Fault = 'caller' | 'setup' | 'server' | 'unclear';
export type ConnectKind =
  | 'no_such_file'
  | 'nobody_listens'
  | 'permission_denied'
  | 'not_a_stream_socket'
  | 'queue_full'
  | 'no_descriptors'
  | 'cannot_connect';
export type Kind =
  | ConnectKind
  | 'invalid_argument'
  | 'timeout'
  | 'not_closed'
  | 'connection_lost'
  | 'request_not_taken'
  | 'reply_too_large'
  | 'server_error'
  | 'malformed_reply';

/** The base of all errors. */
export class UnhangError extends Error {
  protected constructor();
  /** One word for logs and metrics; the same in the clients of all languages. */
  readonly kind: Kind;
  readonly fault: Fault;
  /** What to do next; part of the message, too. */
  readonly advice: string;
  /** The socket as it was given. */
  readonly address: string;
  /** false only if the server cannot have seen the request; then repeating it is safe. */
  readonly mayHaveRun: boolean;
  /** The bytes that had come. */
  readonly reply: Buffer;
  /** The system's error, such as "ENOENT". */
  readonly code?: string;
}

export class InvalidArgumentError extends UnhangError {}
export class ConnectError extends UnhangError {
  readonly kind: ConnectKind;
  /** Milliseconds spent trying. */
  readonly elapsed: number;
}
export class TimeoutError extends UnhangError {
  readonly phase: 'send' | 'receive';
  readonly timeout: number;
}
export class NotClosedError extends UnhangError {
  /** Milliseconds since the last byte of `reply`. */
  readonly silentFor: number;
  readonly timeout: number;
}
export class ConnectionLostError extends UnhangError {}
export class RequestNotTakenError extends UnhangError {
  /** Bytes, in whole pieces of 64 KiB: Node does not tell how much of a piece was taken. */
  readonly taken: number;
  readonly total: number;
}
export class ReplyTooLargeError extends UnhangError {
  readonly limit: number;
}
export class ServerError extends UnhangError {
  /** The server's text as it came; the message has it escaped and short. */
  readonly reason: string;
}
export class MalformedReplyError extends UnhangError {}
