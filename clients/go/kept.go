package unhang

import (
	"bytes"
	"context"
	"sync"
	"time"
)

// Connections that wait for their next request; more calls at a time than that are rare, and each costs a descriptor.
const maxIdle = 32

// pool has connections that are kept between calls.
//
// A connection is taken out of the idle ones before its first byte is sent, and comes back only after a whole reply with nothing
// behind it. So however a call ends (a deadline, a cancelled context), a connection with an answer outstanding is closed, and no
// answer can reach another call.
type pool struct {
	mutex sync.Mutex
	idle  []*connection
}

func (p *pool) call(ctx context.Context, path string, s settings, request []byte, newScanner func() scanner) (*found, error) {
	deadline := newDeadline(ctx, s.timeout)
	for {
		connection := p.takeQuiet()
		isReused := connection != nil
		if !isReused {
			var err error
			if connection, err = connect(ctx, path, deadline); err != nil {
				return nil, err
			}
			if err := checkUnasked(connection, path); err != nil {
				connection.close()
				return nil, err
			}
		}
		exchange := exchange{
			connection: connection, path: shownAddress(path), request: request, scanner: newScanner(), deadline: deadline,
			maxReply: s.maxReply, isReused: isReused,
		}
		found, err := exchange.run(ctx)
		if exchange.isClean() && err == nil {
			p.keep(connection)
		} else {
			connection.close()
		}
		// The server had closed the idle connection, and got nothing of this request: not a repetition.
		if err != nil && exchange.notDelivered() && ctx.Err() == nil {
			continue
		}
		return found, err
	}
}

// checkUnasked refuses a server that speaks first: what it says would be taken for the answer.
func checkUnasked(c *connection, path string) error {
	if c.isQuiet() {
		return nil
	}
	said := make([]byte, readSize)
	if n, err := c.receiveNow(said); err == nil && n > 0 {
		return unasked(shownAddress(path), said[:n])
	}
	return nil // its end or a reset, which the exchange will tell
}

func (p *pool) takeQuiet() *connection {
	for {
		p.mutex.Lock()
		last := len(p.idle) - 1
		if last < 0 {
			p.mutex.Unlock()
			return nil
		}
		connection := p.idle[last]
		p.idle = p.idle[:last]
		p.mutex.Unlock()
		if connection.isQuiet() {
			return connection
		}
		connection.close()
	}
}

func (p *pool) keep(c *connection) {
	p.mutex.Lock()
	hasRoom := len(p.idle) < maxIdle
	if hasRoom {
		p.idle = append(p.idle, c)
	}
	p.mutex.Unlock()
	if !hasRoom {
		c.close()
	}
}

func (p *pool) close() {
	p.mutex.Lock()
	idle := p.idle
	p.idle = nil
	p.mutex.Unlock()
	for _, connection := range idle {
		connection.close()
	}
}

// Lines calls a server that answers each line with a line, on connections that are kept. Goroutines may share it; it must not be
// copied. The fields are those of Client.
type Lines struct {
	Path     string
	Timeout  time.Duration
	MaxReply int

	pool pool
}

// Call returns the line that answers, without its newline. The line may have its newline or not, and none inside.
func (l *Lines) Call(ctx context.Context, line []byte) ([]byte, error) {
	s, err := checked(l.Path, l.Timeout, l.MaxReply)
	if err != nil {
		return nil, err
	}
	bare := bytes.TrimSuffix(line, []byte("\n"))
	if bytes.IndexByte(bare, '\n') >= 0 {
		return nil, invalid("the request has a newline inside, which would make two requests of it", "Escape it, or send two.")
	}
	request := append(append(make([]byte, 0, len(bare)+1), bare...), '\n')
	found, err := l.pool.call(ctx, l.Path, s, request, func() scanner { return &delimiterScanner{delimiter: []byte("\n")} })
	if err != nil {
		return nil, err
	}
	return found.reply, nil
}

// Close closes the idle connections. Lines may still be used.
func (l *Lines) Close() {
	l.pool.close()
}

// HTTP calls an HTTP/1.1 server on connections that are kept. Goroutines may share it; it must not be copied. The fields are those
// of Client.
//
// Unlike net/http's Transport it repeats nothing that may have run, and holds one deadline for all.
type HTTP struct {
	Path     string
	Timeout  time.Duration
	MaxReply int

	pool pool
}

// Do returns the whole response, whatever its status. The header may be nil, an http.Header, or any such map; so may the body.
func (h *HTTP) Do(
	ctx context.Context, method, target string, header map[string][]string, body []byte,
) (*Response, error) {
	s, err := checked(h.Path, h.Timeout, h.MaxReply)
	if err != nil {
		return nil, err
	}
	request, err := requestBytes(method, target, header, body)
	if err != nil {
		return nil, err
	}
	newScanner := func() scanner { return &httpScanner{method: method, maxReply: s.maxReply} }
	found, err := h.pool.call(ctx, h.Path, s, request, newScanner)
	if err != nil {
		return nil, err
	}
	return found.response, nil
}

// Close closes the idle connections. HTTP may still be used.
func (h *HTTP) Close() {
	h.pool.close()
}
