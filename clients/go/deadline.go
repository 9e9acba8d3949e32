package unhang

import (
	"context"
	"fmt"
	"time"
)

// A longer wait is a hang in all but name.
const longestTimeout = 10 * time.Minute

// deadline is on the monotonic clock, as time.Now is: setting the system's time moves it neither way.
type deadline struct {
	start   time.Time
	timeout time.Duration
}

// newDeadline takes the earlier of the timeout and the context's deadline.
func newDeadline(ctx context.Context, timeout time.Duration) deadline {
	made := deadline{start: time.Now(), timeout: timeout}
	if at, ok := ctx.Deadline(); ok && at.Sub(made.start) < timeout {
		made.timeout = at.Sub(made.start)
	}
	return made
}

func (d deadline) at() time.Time            { return d.start.Add(d.timeout) }
func (d deadline) elapsed() time.Duration   { return time.Since(d.start) }
func (d deadline) passed() bool             { return d.elapsed() >= d.timeout }
func (d deadline) remaining() time.Duration { return time.Until(d.at()) }

func checkTimeout(timeout time.Duration) error {
	if timeout < 0 || timeout > longestTimeout {
		return invalid(fmt.Sprintf("the timeout must be at most %s and not negative, but it is %s", longestTimeout, timeout),
			"A number alone is nanoseconds.")
	}
	return nil
}

func cancelled(path string, reply []byte, mayHaveRun bool, ctx context.Context) *Error {
	return &Error{
		Kind: Cancelled, Fault: FaultCaller, MayHaveRun: mayHaveRun, Address: path, Reply: reply, Err: ctx.Err(),
		Advice:  "The connection was closed, so no late reply can reach another call.",
		message: fmt.Sprintf("the call of %s was cancelled", path),
	}
}

func tooLateToBegin(path string) *Error {
	return &Error{
		Kind: TimedOut, Fault: FaultCaller, Address: path, Phase: "connect", Err: context.DeadlineExceeded,
		Advice:  "Nothing was sent: begin with a later deadline.",
		message: fmt.Sprintf("the context's deadline had passed before the call of %s began", path),
	}
}
