package unhang

import (
	"context"
	"errors"
	"fmt"
	"os"
	"syscall"
	"time"
)

// exchange is one request and its reply on a connection.
//
// It sends and receives at the same time: a server that answers while it reads would wait for us as we wait for it.
type exchange struct {
	connection *connection
	path       string // as messages show it
	request    []byte
	scanner    scanner
	traits     traits
	deadline   deadline
	halfClose  bool
	maxReply   int
	isReused   bool

	reply    []byte
	heardAt  time.Time
	closed   bool
	resetErr error

	// What became of the sending; sendDone is closed when that is known. Read it only after.
	sendDone chan struct{}
	sent     int
	sendErr  error

	found *found
}

// run returns the whole reply or an *Error. The caller closes the connection.
func (e *exchange) run(ctx context.Context) (*found, error) {
	e.traits = e.scanner.traits()
	_ = e.connection.socket.SetDeadline(e.deadline.at())
	stopWatching := e.watch(ctx)
	e.beginSending()
	if e.isSent() && e.notDelivered() {
		stopWatching()
		return nil, e.lost()
	}
	err := e.receiveAll(ctx)
	e.endSending(err)
	stopWatching()

	if err == nil && e.found == nil {
		err = e.atEnd()
	}
	if errors.Is(err, os.ErrDeadlineExceeded) {
		if ctx.Err() == context.Canceled {
			return nil, cancelled(e.path, e.reply, true, ctx)
		}
		err = e.late()
	}
	if err != nil {
		return nil, e.explained(err)
	}
	return e.found, nil
}

// watch ends all waiting when the context is cancelled, until the returned function is called.
func (e *exchange) watch(ctx context.Context) func() {
	if ctx.Done() == nil {
		return func() {}
	}
	stop, stopped := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(stopped)
		select {
		case <-ctx.Done():
			if ctx.Err() == context.Canceled {
				_ = e.connection.socket.SetDeadline(past)
			}
		case <-stop:
		}
	}()
	return func() {
		close(stop)
		// Else it could end the wait of the next call on this connection.
		<-stopped
	}
}

// beginSending hands over what the socket takes at once, and the rest to a goroutine.
func (e *exchange) beginSending() {
	e.sendDone = make(chan struct{})
	e.sent, e.sendErr = e.connection.sendNow(e.request)
	if e.sent < 0 {
		e.sent = 0
	}
	if e.sent == len(e.request) || e.sendErr != nil && e.sendErr != syscall.EAGAIN {
		e.afterSending()
		return
	}
	go func() {
		n, err := e.connection.send(e.request[e.sent:])
		e.sent += n
		e.sendErr = err
		e.afterSending()
	}()
}

func (e *exchange) afterSending() {
	if e.sendErr == nil && e.halfClose {
		// It fails if the server is gone, and receiving will tell.
		_ = e.connection.socket.CloseWrite()
	}
	close(e.sendDone)
}

// endSending waits for the sending. After a clean end it may go on: a server may finish its reply and still read.
func (e *exchange) endSending(err error) {
	isOver := err != nil || e.found != nil || e.resetErr != nil || isErrorLine(e.reply)
	if isOver && !e.isSent() {
		_ = e.connection.socket.SetWriteDeadline(past)
	}
	<-e.sendDone
}

func (e *exchange) isSent() bool {
	select {
	case <-e.sendDone:
		return true
	default:
		return false
	}
}

// receiveAll returns nil at the end of the reply or of the stream. The deadline's error is os.ErrDeadlineExceeded.
func (e *exchange) receiveAll(ctx context.Context) error {
	buffer := make([]byte, readSize)
	receive := e.connection.receive
	for {
		e.setReadDeadline(ctx)
		n, err := receive(buffer)
		switch {
		case errors.Is(err, os.ErrDeadlineExceeded) && e.silentLongEnough():
			e.found = &found{reply: e.reply, used: len(e.reply)}
			return nil
		case errors.Is(err, os.ErrDeadlineExceeded) && !e.deadline.passed() && ctx.Err() == nil:
			continue
		case errors.Is(err, os.ErrDeadlineExceeded):
			// Perhaps this process was held up while the reply came: once more what can be had without waiting.
			receive = e.connection.receiveNow
			continue
		case err == syscall.EAGAIN:
			return os.ErrDeadlineExceeded
		case err == errDescriptors:
			return err
		case err != nil:
			e.resetErr = err
			return nil
		case n == 0:
			e.closed = true
			return nil
		}
		e.reply = append(e.reply, buffer[:n]...)
		e.heardAt = time.Now()
		if err := e.look(false); err != nil || e.found != nil {
			return err
		}
	}
}

func (e *exchange) setReadDeadline(ctx context.Context) {
	if e.traits.patience == 0 || len(e.reply) == 0 {
		return
	}
	at := time.Now().Add(e.traits.patience)
	if at.After(e.deadline.at()) {
		at = e.deadline.at()
	}
	_ = e.connection.socket.SetReadDeadline(at)
	if ctx.Err() == context.Canceled {
		// The watcher may have ended the wait before we set the time anew.
		_ = e.connection.socket.SetReadDeadline(past)
	}
}

func (e *exchange) silentLongEnough() bool {
	return e.traits.patience > 0 && len(e.reply) > 0 && time.Since(e.heardAt) >= e.traits.patience && e.isSent()
}

// look asks the scanner, and checks the length.
func (e *exchange) look(atEnd bool) error {
	var err error
	e.found, err = e.scanner.look(e.reply, atEnd)
	if err != nil {
		return err
	}
	isTooLong := e.found != nil && len(e.found.reply) > e.maxReply ||
		e.found == nil && e.traits.overhead >= 0 && len(e.reply) > e.maxReply+e.traits.overhead
	if isTooLong {
		e.found = nil
		return errTooLarge
	}
	return nil
}

// atEnd: the server has ended the conversation, cleanly or not.
func (e *exchange) atEnd() error {
	switch {
	case isErrorLine(e.reply):
		return errorLine{len(e.reply)}
	case errors.Is(e.sendErr, os.ErrDeadlineExceeded) && e.resetErr == nil:
		return os.ErrDeadlineExceeded
	case e.sendErr == nil && e.resetErr == nil:
		if err := e.look(true); err != nil || e.found != nil {
			return err
		}
	case e.sent > 0 && e.sent < len(e.request) && e.resetErr == nil:
		return e.notTaken()
	}
	return e.lost()
}

// isClean tells whether the connection may serve another request: all was sent, and nothing came behind the reply.
func (e *exchange) isClean() bool {
	return e.found != nil && e.found.keep && e.found.used == len(e.reply) && e.sendErr == nil && !e.closed && e.resetErr == nil
}

// notDelivered: the server had ended an idle connection before it was sent a byte, so it cannot have run the request. Its
// words meanwhile answer nobody.
func (e *exchange) notDelivered() bool {
	return e.isReused && e.nothingTaken()
}

func (e *exchange) nothingTaken() bool {
	return errors.Is(e.sendErr, syscall.EPIPE) && e.sent == 0
}

// Why there is no reply

func (e *exchange) explained(err error) error {
	var bad malformedBytes
	var line errorLine
	switch {
	case errors.As(err, &bad):
		return malformed(e.path, e.reply, string(bad))
	case errors.As(err, &line):
		return serverError(e.path, e.reply[:line.length:line.length])
	case err == errTooLarge:
		return tooLarge(e.path, e.maxReply)
	case err == errDescriptors:
		return &Error{
			Kind: DescriptorsPassed, Fault: FaultServer, MayHaveRun: true, Address: e.path, Reply: e.reply,
			Advice:  "Its reply was left unread.",
			message: fmt.Sprintf("the server at %s passed file descriptors, which nobody asked for", e.path),
		}
	}
	return err
}

func (e *exchange) notTaken() error {
	return &Error{
		Kind: RequestNotTaken, Fault: FaultServer, MayHaveRun: true, Address: e.path, Reply: e.reply, Err: e.sendErr,
		Taken: e.sent, Total: len(e.request),
		Advice: "Its answer, if any, is to that part. A server must read the whole request, or refuse it in words.",
		message: fmt.Sprintf("the server at %s took %d of %d bytes of the request, answered %d bytes and read no more",
			e.path, e.sent, len(e.request), len(e.reply)),
	}
}

func (e *exchange) lost() error {
	// An empty request is complete as soon as the connection is.
	mayHaveRun := e.sent > 0 || len(e.request) == 0
	cause := e.resetErr
	if cause == nil {
		cause = e.sendErr
	}
	how := "closed the connection before the " + e.traits.awaited
	switch {
	case e.resetErr != nil:
		how = fmt.Sprintf("ended, or closed the connection without having read all that it was sent (%s)", e.resetErr)
	case len(e.reply) == 0:
		how = "closed the connection without a reply"
	}
	if len(e.reply) > 0 {
		how += fmt.Sprintf(", after %d bytes of reply", len(e.reply))
	}
	advice := "The request may have run: repeat it only if that does no harm."
	if !mayHaveRun {
		advice = "The request has not run: repeating it is safe."
	}
	if e.halfClose && len(e.reply) == 0 && cause == nil {
		advice = halfCloseAdvice + ". Else see the server's log. " + advice
	}
	return &Error{
		Kind: ConnectionLost, Fault: FaultServer, MayHaveRun: mayHaveRun, Address: e.path, Reply: e.reply, Err: cause,
		Advice: advice, message: fmt.Sprintf("the server at %s %s", e.path, how),
	}
}

// late: the deadline has passed.
func (e *exchange) late() error {
	timeout := e.deadline.timeout
	result := &Error{
		Kind: TimedOut, Fault: FaultServer, MayHaveRun: true, Address: e.path, Reply: e.reply, Err: context.DeadlineExceeded,
		Phase: "receive",
	}
	switch {
	case e.sendErr != nil:
		result.Phase = "send"
		result.MayHaveRun = !e.nothingTaken()
		result.message = fmt.Sprintf("the server at %s did not take the whole request within %s: %d of %d bytes",
			e.path, seconds(timeout), e.sent, len(e.request))
		result.Advice = "It reads too slowly, or not at all."
	case len(e.reply) > 0 && e.traits.closes:
		return notClosed(e.path, e.reply, time.Since(e.heardAt), timeout)
	case len(e.reply) > 0:
		result.message = fmt.Sprintf("the server at %s sent %d bytes, but no %s within %s",
			e.path, len(e.reply), e.traits.awaited, seconds(timeout))
		result.Advice = "Its reply may have another end. " + matchingEnd(e.reply)
		if e.traits.isHTTP {
			result.Advice = "Its reply is still coming, or it is shorter than it says."
		}
	default:
		result.Fault = FaultUnclear
		result.message = fmt.Sprintf("the server at %s took the request and sent nothing within %s", e.path, seconds(timeout))
		result.Advice = "It is still working, or it waits for more than it was sent, such as a newline."
		if e.halfClose {
			result.Advice += " " + halfCloseAdvice + "."
		}
	}
	return result
}
