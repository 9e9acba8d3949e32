package unhang

import (
	"context"
	"errors"
	"fmt"
	"math/rand"
	"net"
	"syscall"
	"time"
)

const (
	// A busy server takes the next connection within about a millisecond.
	firstPause = time.Millisecond
	// Twenty attempts a second cost nothing, and a free place is still found soon.
	longestPause = 50 * time.Millisecond
	// A long reply in few system calls, a short one without much memory.
	readSize = 64 * 1024
)

// include/uapi/asm-generic/socket.h, Linux 6.16: what is passed to us fails at the sender. A variable for the tests.
var soPassRights = 83

var (
	errDescriptors = errors.New("file descriptors were passed")
	past           = time.Unix(1, 0)
)

// connection is a connected socket that no passed descriptor can block.
type connection struct {
	socket           *net.UnixConn
	raw              syscall.RawConn
	takesDescriptors bool
	drained          bool
}

// connect tries again while the accept queue is full. The error is an *Error.
func connect(ctx context.Context, path string, deadline deadline) (*connection, error) {
	if deadline.timeout <= 0 {
		return nil, tooLateToBegin(shownAddress(path))
	}
	for pause := firstPause; ; pause *= 2 {
		if ctx.Err() == context.Canceled {
			return nil, cancelled(shownAddress(path), nil, false, ctx)
		}
		made, err := attempt(path)
		if err == nil {
			return made, nil
		}
		if !errors.Is(err, syscall.EAGAIN) || deadline.passed() {
			return nil, connectFailure(path, err, deadline.elapsed())
		}
		if pause > longestPause {
			pause = longestPause
		}
		// A random share of the pause, or all the clients that wait would come back in step.
		sleep(ctx, min(time.Duration(float64(pause)*(0.5+rand.Float64()/2)), deadline.remaining()))
	}
}

func attempt(path string) (*connection, error) {
	made := &connection{}
	dialer := net.Dialer{Control: func(_, _ string, raw syscall.RawConn) error {
		// Before connect(): whatever the server passes is then refused to the server. This kernel may not know how.
		return raw.Control(func(fd uintptr) {
			made.takesDescriptors = syscall.SetsockoptInt(int(fd), syscall.SOL_SOCKET, soPassRights, 0) != nil
		})
	}}
	// Without the context: connecting to a Unix socket does not wait.
	socket, err := dialer.Dial("unix", path)
	if err != nil {
		return nil, err
	}
	made.socket = socket.(*net.UnixConn)
	made.raw, err = made.socket.SyscallConn()
	return made, err
}

// receive waits for bytes until the read deadline. No bytes and no error: the end.
func (c *connection) receive(buffer []byte) (n int, err error) {
	wait := c.raw.Read(func(fd uintptr) bool {
		n, err = c.tryReceive(int(fd), buffer)
		return err != syscall.EAGAIN
	})
	if wait != nil {
		return 0, wait
	}
	return n, err
}

// receiveNow does not wait, and does not ask whether the deadline has passed. EAGAIN: nothing is there.
func (c *connection) receiveNow(buffer []byte) (n int, err error) {
	if control := c.raw.Control(func(fd uintptr) { n, err = c.tryReceive(int(fd), buffer) }); control != nil {
		return 0, control
	}
	return n, err
}

func (c *connection) tryReceive(fd int, buffer []byte) (int, error) {
	if c.takesDescriptors {
		// Their close blocks for as long as their sender has set (SO_LINGER). A peek without room for them shows them by
		// MSG_CTRUNC, and closes none. Nothing more is read than was peeked at.
		n, _, flags, _, err := syscall.Recvmsg(fd, buffer, nil, syscall.MSG_PEEK|syscall.MSG_DONTWAIT)
		if err != nil {
			return 0, err
		}
		if flags&syscall.MSG_CTRUNC != 0 {
			return 0, errDescriptors
		}
		buffer = buffer[:n]
	}
	for len(buffer) > 0 {
		n, err := syscall.Read(fd, buffer)
		if err == syscall.EINTR {
			continue
		}
		c.drained = err == nil && n == 0
		if err != nil {
			n = 0
		}
		return n, err
	}
	c.drained = true
	return 0, nil
}

// send waits until the write deadline, and tells how many bytes were taken.
func (c *connection) send(data []byte) (int, error) {
	sent := 0
	for sent < len(data) {
		var n int
		var err error
		wait := c.raw.Write(func(fd uintptr) bool {
			n, err = trySend(int(fd), data[sent:])
			return err != syscall.EAGAIN
		})
		if wait != nil {
			return sent, wait
		}
		if err != nil {
			return sent, err
		}
		sent += n
	}
	return sent, nil
}

// sendNow does not wait.
func (c *connection) sendNow(data []byte) (n int, err error) {
	if control := c.raw.Control(func(fd uintptr) { n, err = trySend(int(fd), data) }); control != nil {
		return 0, control
	}
	return n, err
}

func trySend(fd int, data []byte) (int, error) {
	for {
		// MSG_NOSIGNAL: the process may be a C program that gave SIGPIPE its default action.
		n, err := syscall.SendmsgN(fd, data, nil, nil, syscall.MSG_NOSIGNAL|syscall.MSG_DONTWAIT)
		if err != syscall.EINTR {
			return n, err
		}
	}
}

// isQuiet tells whether it is open and holds nothing: no end, no byte that nobody asked for.
func (c *connection) isQuiet() bool {
	var one [1]byte
	var err error
	control := c.raw.Control(func(fd uintptr) {
		_, _, _, _, err = syscall.Recvmsg(int(fd), one[:], nil, syscall.MSG_PEEK|syscall.MSG_DONTWAIT)
	})
	return control == nil && err == syscall.EAGAIN
}

func (c *connection) close() {
	if c.takesDescriptors && !c.drained {
		// Unread bytes may hold descriptors; closing them may block. Nobody waits for this goroutine.
		go c.socket.Close()
		return
	}
	c.socket.Close()
}

func connectFailure(path string, err error, elapsed time.Duration) *Error {
	var errno syscall.Errno
	errors.As(err, &errno)
	// The kernel says "refused" for a file that is no socket, too.
	found := errno.Error()
	inPlace := ""
	if errno == syscall.ECONNREFUSED {
		inPlace = impostor(path)
	}
	switch {
	case inPlace != "":
		found = "it is " + inPlace
	case errno == 0:
		found = shownAddress(err.Error())
	}
	kind, advice := connectAdvice(path, errno, inPlace != "", elapsed)
	fault := FaultSetup
	if kind == QueueFull {
		fault = FaultServer
	}
	return &Error{
		Kind: kind, Fault: fault, Address: shownAddress(path), Advice: advice, Err: err,
		message: fmt.Sprintf("cannot connect to %s (%s)", shownAddress(path), found),
	}
}

func connectAdvice(path string, errno syscall.Errno, isImpostor bool, elapsed time.Duration) (Kind, string) {
	switch {
	case isImpostor || errno == syscall.EPROTOTYPE:
		return NotAStreamSocket, "Only a stream socket can be called: correct the path."
	case errno == syscall.ENOENT || errno == syscall.ENOTDIR:
		if isAbstract(path) {
			return NoSuchFile, "Start the server, or correct the name."
		}
		return NoSuchFile, "Start the server, or correct the path. A service with PrivateTmp=yes has a /tmp of its own."
	case errno == syscall.ECONNREFUSED && isDeleted(path):
		return NobodyListens, "This is a mount of a deleted file (link count 0): the server has made a new one. Mount the directory," +
			" not the file."
	case errno == syscall.ECONNREFUSED && isAbstract(path):
		return NobodyListens, "Nobody listens on it: start the server."
	case errno == syscall.ECONNREFUSED:
		return NobodyListens, "Nobody listens on it: start the server. The file of a server that was killed stays behind."
	case errno == syscall.EACCES:
		return PermissionDenied, "The user who calls needs write permission on the socket, and x on every directory above it."
	case errno == syscall.EAGAIN:
		return QueueFull, fmt.Sprintf("The server listens, but its queue of waiting connections stayed full for %s: it is stuck or"+
			" overloaded.", seconds(elapsed))
	case errno == syscall.EMFILE || errno == syscall.ENFILE:
		return NoDescriptors, "This process (EMFILE) or machine (ENFILE) has no file descriptor left: look for a leak, or raise ulimit -n."
	}
	return CannotConnect, "The fault is probably on this side."
}

func sleep(ctx context.Context, duration time.Duration) {
	timer := time.NewTimer(duration)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-ctx.Done():
	}
}

func min(a, b time.Duration) time.Duration {
	if a < b {
		return a
	}
	return b
}
