package unhang

import (
	"context"
	"time"
)

const (
	// Short enough that a person still waits, long enough for a healthy server under load.
	defaultTimeout = 5 * time.Second
	// Enough for most replies, and little beside any machine's memory.
	defaultMaxReply = 16 << 20
)

// Client calls a server that answers once: one connection and one deadline for each call. The zero value of each field but Path
// is its default. Goroutines may share a Client.
type Client struct {
	// Path is the socket, or "@name" for an abstract one.
	Path string
	// Timeout is for connecting, sending and receiving together; 5 s if 0. An earlier deadline of the context counts, too.
	Timeout time.Duration
	// Ends is how the reply shows its end; AtClose if left out.
	Ends Ends
	// NoHalfClose: do not tell the server that the request is complete by closing the sending side. For servers that take
	// this for the end of everything.
	NoHalfClose bool
	// MaxReply is in bytes; 16 MiB if 0.
	MaxReply int
}

// Call returns the whole reply, or an *Error.
func (c Client) Call(ctx context.Context, request []byte) ([]byte, error) {
	if c.Ends.scanner == nil {
		c.Ends = AtClose()
	}
	if c.Ends.err != nil {
		return nil, c.Ends.err
	}
	settings, err := checked(c.Path, c.Timeout, c.MaxReply)
	if err != nil {
		return nil, err
	}
	deadline := newDeadline(ctx, settings.timeout)
	connection, err := connect(ctx, c.Path, deadline)
	if err != nil {
		return nil, err
	}
	// Never used twice: a late reply would be taken for the answer to the next call.
	defer connection.close()
	exchange := exchange{
		connection: connection, path: shownAddress(c.Path), request: request, scanner: c.Ends.scanner(settings.maxReply),
		deadline: deadline, halfClose: !c.NoHalfClose, maxReply: settings.maxReply,
	}
	found, err := exchange.run(ctx)
	if err != nil {
		return nil, err
	}
	return found.reply, nil
}

type settings struct {
	timeout  time.Duration
	maxReply int
}

// checked also fills in what was left out.
func checked(path string, timeout time.Duration, maxReply int) (settings, error) {
	if err := checkAddress(path); err != nil {
		return settings{}, err
	}
	if err := checkTimeout(timeout); err != nil {
		return settings{}, err
	}
	if maxReply < 0 {
		return settings{}, invalid("the longest allowed reply cannot be negative", "Leave MaxReply out for 16 MiB.")
	}
	if timeout == 0 {
		timeout = defaultTimeout
	}
	if maxReply == 0 {
		maxReply = defaultMaxReply
	}
	return settings{timeout, maxReply}, nil
}
