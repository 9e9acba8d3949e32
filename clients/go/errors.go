package unhang

import (
	"context"
	"fmt"
	"time"
)

// Kind is one word for what happened, the same in the clients of all languages. errors.Is(err, unhang.NotClosed) tells.
type Kind string

// The kinds. Those of a connection that was never made come first; after them the server saw nothing.
const (
	// InvalidArgument: a mistake in the calling code.
	InvalidArgument Kind = "invalid_argument"
	// NoSuchFile: nothing is at the path.
	NoSuchFile Kind = "no_such_file"
	// NobodyListens: the socket is there, its server is gone.
	NobodyListens Kind = "nobody_listens"
	// PermissionDenied: this user may not write to the socket, or not enter a directory above it.
	PermissionDenied Kind = "permission_denied"
	// NotAStreamSocket: a file, a directory, or a socket of another type.
	NotAStreamSocket Kind = "not_a_stream_socket"
	// QueueFull: a server listens, but took no connection from its queue until the deadline.
	QueueFull Kind = "queue_full"
	// NoDescriptors: this process or machine has no file descriptor left.
	NoDescriptors Kind = "no_descriptors"
	// CannotConnect: anything else; the message tells.
	CannotConnect Kind = "cannot_connect"

	// TimedOut: no whole reply in time; Phase tells.
	TimedOut Kind = "timeout"
	// NotClosed: a reply came, and the server had not closed at the deadline.
	NotClosed Kind = "not_closed"
	// ConnectionLost: closed or reset before the reply was whole. An empty reply counts as none.
	ConnectionLost Kind = "connection_lost"
	// RequestNotTaken: the server took Taken of Total bytes of the request; Reply answers that part.
	RequestNotTaken Kind = "request_not_taken"
	// ReplyTooLarge: longer than MaxReply.
	ReplyTooLarge Kind = "reply_too_large"
	// ServerError: the server answered "ERR reason".
	ServerError Kind = "server_error"
	// MalformedReply: no JSON, no HTTP, or a server that speaks before it is asked.
	MalformedReply Kind = "malformed_reply"
	// DescriptorsPassed: the server passed file descriptors along, on a kernel before 6.16, which cannot refuse them.
	DescriptorsPassed Kind = "descriptors_passed"
	// Cancelled: the context was cancelled; errors.Is(err, context.Canceled), too.
	Cancelled Kind = "cancelled"
)

// Error makes a Kind a target of errors.Is.
func (k Kind) Error() string {
	return string(k)
}

// Fault says whose fault it was.
type Fault string

// The faults.
const (
	FaultCaller  Fault = "caller"  // the calling code
	FaultSetup   Fault = "setup"   // path, permissions, limits
	FaultServer  Fault = "server"  // the server
	FaultUnclear Fault = "unclear" // the bytes do not tell
)

// Error is every error of this package.
type Error struct {
	Kind  Kind
	Fault Fault
	// MayHaveRun is false only if the server cannot have seen the request; then repeating it is safe.
	MayHaveRun bool
	// Address is the socket, escaped if its name needs it.
	Address string
	// Reply has the bytes that had come.
	Reply []byte
	// Advice says what to do next; it is part of the message, too.
	Advice string
	// Err is the cause: a syscall.Errno, context.DeadlineExceeded, context.Canceled, or nil.
	Err error

	// Reason is the server's text as it came (ServerError). The message has it escaped and short.
	Reason string
	// Phase is "send" or "receive", or "connect" if the context's deadline had passed before (TimedOut).
	Phase string
	// SilentFor is the time since the last byte of Reply (NotClosed).
	SilentFor time.Duration
	// Taken and Total are bytes of the request (RequestNotTaken).
	Taken, Total int

	message string
}

func (e *Error) Error() string {
	return "unhang: " + e.message + ". " + e.Advice
}

func (e *Error) Unwrap() error {
	return e.Err
}

// Is tells whether target is this error's Kind.
func (e *Error) Is(target error) bool {
	kind, ok := target.(Kind)
	return ok && kind == e.Kind
}

// Timeout makes it a timeout for code that asks by net.Error's method.
func (e *Error) Timeout() bool {
	return e.Kind == TimedOut || e.Kind == NotClosed || e.Kind == QueueFull
}

func invalid(message, advice string) *Error {
	return &Error{Kind: InvalidArgument, Fault: FaultCaller, Advice: advice, message: message}
}

// Of the timeout: silent for less than this part, the server may have been sending still.
const shortSilence = 0.1

func notClosed(path string, reply []byte, silent, timeout time.Duration) *Error {
	advice := "The server must close or half-close the connection after its reply. " + matchingEnd(reply)
	message := fmt.Sprintf("the server at %s sent %d bytes, then nothing for %s, and never closed the connection within %s",
		path, len(reply), seconds(silent), seconds(timeout))
	if silent.Seconds() < shortSilence*timeout.Seconds() {
		message = fmt.Sprintf(
			"the server at %s sent %d bytes, the last of them %s before the timeout of %s, and never closed the connection",
			path, len(reply), seconds(silent), seconds(timeout))
		advice = "The reply may still have been coming: raise the timeout. If it was whole: " + advice
	}
	return &Error{
		Kind: NotClosed, Fault: FaultServer, MayHaveRun: true, Address: path, Reply: reply, Advice: advice,
		Err: context.DeadlineExceeded, SilentFor: silent, message: message,
	}
}

func serverError(path string, line []byte) *Error {
	reason := line[len(errorPrefix) : len(line)-1]
	return &Error{
		Kind: ServerError, Fault: FaultServer, MayHaveRun: true, Address: path, Reply: line, Reason: string(reason),
		Advice:  "It is the server's own word: see its log. Unless the reason says otherwise, the request may have run.",
		message: fmt.Sprintf("the server at %s answered with an error: %s", path, oneLine(reason)),
	}
}

func tooLarge(path string, limit int) *Error {
	return &Error{
		Kind: ReplyTooLarge, Fault: FaultUnclear, MayHaveRun: true, Address: path,
		Advice:  "If it may be, give the client a greater MaxReply.",
		message: fmt.Sprintf("the reply of the server at %s is longer than the %d bytes allowed", path, limit),
	}
}

func malformed(path string, reply []byte, why string) *Error {
	return &Error{
		Kind: MalformedReply, Fault: FaultServer, MayHaveRun: true, Address: path, Reply: reply,
		Advice:  "The server and this client do not speak the same protocol, or its reply is damaged.",
		message: fmt.Sprintf("the reply of the server at %s breaks its rule: %s", path, why),
	}
}

func unasked(path string, said []byte) *Error {
	return &Error{
		Kind: MalformedReply, Fault: FaultServer, Address: path, Reply: said,
		Advice:  "They would be taken for the answer: this is no server that answers one request after another.",
		message: fmt.Sprintf("the server at %s sent %d bytes before it was asked", path, len(said)),
	}
}
