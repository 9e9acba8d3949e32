package unhang

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math/rand"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"
)

// Seconds that closing a passed descriptor blocks, as bad_server.py has it; a call that it blocks takes longer than half.
const linger = 30 * time.Second

var background = context.Background()

func fails(t *testing.T, kind Kind, path string) *Error {
	t.Helper()
	_, err := Client{Path: path, Timeout: patience}.Call(background, []byte("hello"))
	var e *Error
	if !errors.As(err, &e) || e.Kind != kind || e.MayHaveRun {
		t.Fatalf("not %s: %v", kind, err)
	}
	return e
}

func answers(t *testing.T, c Client, request, expected string) {
	t.Helper()
	reply, err := c.Call(background, []byte(request))
	if err != nil || string(reply) != expected {
		t.Fatalf("%q, %v", reply, err)
	}
}

func TestNothingAtThePath(t *testing.T) {
	path := filepath.Join(t.TempDir(), "s")
	if e := fails(t, NoSuchFile, path); !errors.Is(e, syscall.ENOENT) {
		t.Error(e.Err)
	}
	if err := os.WriteFile(path, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	fails(t, NoSuchFile, path+"/below")
	if e := fails(t, NotAStreamSocket, path); !strings.Contains(e.Error(), "a regular file") {
		t.Error(e)
	}
	if e := fails(t, NotAStreamSocket, filepath.Dir(path)); !strings.Contains(e.Error(), "a directory") {
		t.Error(e)
	}
}

func TestServerIsGone(t *testing.T) {
	path := filepath.Join(t.TempDir(), "s")
	listener, err := net.ListenUnix("unix", &net.UnixAddr{Name: path, Net: "unix"})
	if err != nil {
		t.Fatal(err)
	}
	listener.SetUnlinkOnClose(false)
	listener.Close()
	if e := fails(t, NobodyListens, path); !strings.Contains(e.Error(), "stays behind") {
		t.Error(e)
	}
	if e := fails(t, NobodyListens, fmt.Sprintf("@unhang-none-%d", os.Getpid())); strings.Contains(e.Error(), "stays behind") {
		t.Error(e)
	}
}

func TestNameThatIsNoText(t *testing.T) {
	e := fails(t, NoSuchFile, t.TempDir()+"/\xff\x1b[2J")
	if !strings.Contains(e.Error(), `/\xff\x1b[2J (`) || !strings.HasSuffix(e.Address, `/\xff\x1b[2J`) {
		t.Error(e)
	}
}

func TestDatagramSocket(t *testing.T) {
	path := filepath.Join(t.TempDir(), "s")
	socket, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: path, Net: "unixgram"})
	if err != nil {
		t.Fatal(err)
	}
	defer socket.Close()
	fails(t, NotAStreamSocket, path)
}

func TestAbstractName(t *testing.T) {
	name := fmt.Sprintf("@unhang-go-%d-%d", os.Getpid(), time.Now().UnixNano())
	start(t, "python3", badServer, "echo", name)
	answers(t, Client{Path: name, Timeout: patience}, "hello", "hello")
	longest := (name + strings.Repeat("n", 107))[:108]
	start(t, "python3", badServer, "echo", longest)
	answers(t, Client{Path: longest, Timeout: patience}, "hello", "hello")
}

func TestFullQueue(t *testing.T) {
	path := serve(t, "queue-full")
	for _, timeout := range []time.Duration{300 * time.Millisecond, patience} {
		begin := time.Now()
		_, err := Client{Path: path, Timeout: timeout}.Call(withTimeout(t, time.Second), nil)
		if !errors.Is(err, QueueFull) || time.Since(begin) < 300*time.Millisecond || time.Since(begin) > patience/2 {
			t.Errorf("after %s: %v", time.Since(begin), err)
		}
	}
	ctx, cancel := context.WithCancel(background)
	time.AfterFunc(100*time.Millisecond, cancel)
	if _, err := (Client{Path: path, Timeout: patience}).Call(ctx, nil); !errors.Is(err, Cancelled) {
		t.Error(err)
	}
}

func TestContextThatHasEnded(t *testing.T) {
	client := Client{Path: serve(t, "echo"), Timeout: patience}
	_, err := client.Call(withTimeout(t, -time.Second), []byte("hello"))
	var e *Error
	if !errors.As(err, &e) || e.Kind != TimedOut || e.MayHaveRun {
		t.Error(err)
	}
	ctx, cancel := context.WithCancel(background)
	cancel()
	if _, err := client.Call(ctx, []byte("hello")); !errors.As(err, &e) || e.Kind != Cancelled || e.MayHaveRun {
		t.Error(err)
	}
}

func withTimeout(t *testing.T, timeout time.Duration) context.Context {
	ctx, cancel := context.WithTimeout(background, timeout)
	t.Cleanup(cancel)
	return ctx
}

func TestFullQueueThatIsWorkedOff(t *testing.T) {
	path := filepath.Join(t.TempDir(), "s")
	stdin := start(t, "python3", badServer, "queue-full-until-told", path)
	fmt.Fprintln(stdin, "go")
	answers(t, Client{Path: path, Timeout: patience}, "hello", "accepted")
}

func TestArguments(t *testing.T) {
	for _, client := range []Client{
		{Path: "/run/s", Timeout: -1},
		{Path: "/run/s", Timeout: time.Hour},
		{Path: "/run/s", MaxReply: -1},
		{Path: "/run/s", Ends: AtDelimiter(nil)},
		{Path: "/run/s", Ends: AtLength(3, binary.BigEndian)},
		{Path: "/run/s", Ends: AtLength(4, nil)},
		{Path: "/run/s", Ends: AtSilence(0)},
		{Path: "/run/s", Ends: AtPredicate(nil)},
		{},
	} {
		if _, err := client.Call(background, nil); !errors.Is(err, InvalidArgument) {
			t.Errorf("%+v: %v", client, err)
		}
	}
}

func TestPredicate(t *testing.T) {
	path := serve(t, "drips-pieces", "abc;def")
	whole := func(reply []byte) (int, bool) {
		at := bytes.IndexByte(reply, ';')
		return at + 1, at >= 0
	}
	answers(t, Client{Path: path, Timeout: patience, Ends: AtPredicate(whole)}, "x", "abc;")
	tooMuch := AtPredicate(func([]byte) (int, bool) { return 99, true })
	if _, err := (Client{Path: path, Timeout: patience, Ends: tooMuch}).Call(background, []byte("x")); !errors.Is(err, InvalidArgument) {
		t.Error(err)
	}
}

func TestPassedDescriptorsDoNotBlock(t *testing.T) {
	for _, option := range []int{soPassRights, 9999} { // the second: a kernel that cannot refuse them
		path := serve(t, "passes-descriptors")
		before := soPassRights
		soPassRights = option
		begin := time.Now()
		reply, err := Client{Path: path, Timeout: patience, Ends: AtNewline()}.Call(background, []byte("hello"))
		soPassRights = before
		if time.Since(begin) > linger/2 {
			t.Errorf("blocked for %s", time.Since(begin))
		}
		if string(reply) != "not passed\n" && !errors.Is(err, DescriptorsPassed) || option == 9999 && err == nil {
			t.Errorf("%q, %v", reply, err)
		}
	}
}

func TestUnreadDescriptorsDoNotBlockTheClose(t *testing.T) {
	path := serve(t, "passes-descriptors")
	before := soPassRights
	soPassRights = 9999
	connection, err := attempt(path)
	soPassRights = before
	if err != nil {
		t.Fatal(err)
	}
	if _, err := connection.send([]byte("hello")); err != nil {
		t.Fatal(err)
	}
	for connection.isQuiet() {
		time.Sleep(time.Millisecond)
	}
	begin := time.Now()
	connection.close()
	if time.Since(begin) > linger/2 {
		t.Errorf("blocked for %s", time.Since(begin))
	}
}

func TestOldKernelWithAServerThatPassesNone(t *testing.T) {
	path := serve(t, "echo-as-it-reads")
	before := soPassRights
	soPassRights = 9999
	defer func() { soPassRights = before }()
	request := strings.Repeat("0123456789", 100_000)
	answers(t, Client{Path: path, Timeout: patience}, request, request)
}

func TestCancelledCallClosesItsConnection(t *testing.T) {
	path := filepath.Join(t.TempDir(), "s")
	listener, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	ended := make(chan error, 1)
	go func() {
		peer, err := listener.Accept()
		for err == nil {
			_, err = peer.Write([]byte("x"))
			time.Sleep(time.Millisecond)
		}
		ended <- err
	}()
	ctx, cancel := context.WithCancel(background)
	time.AfterFunc(100*time.Millisecond, cancel)
	_, err = Client{Path: path, Timeout: patience}.Call(ctx, []byte("hello"))
	if !errors.Is(err, Cancelled) || !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
	if err := <-ended; !errors.Is(err, syscall.EPIPE) {
		t.Error(err)
	}
}

func TestCancelWhileSilenceIsAwaited(t *testing.T) {
	path := serve(t, "drips", "0.02")
	for i := 0; i < 20; i++ {
		ctx, cancel := context.WithCancel(background)
		time.AfterFunc(time.Duration(i)*10*time.Millisecond, cancel)
		begin := time.Now()
		_, err := Client{Path: path, Timeout: 2 * patience, Ends: AtSilence(patience)}.Call(ctx, []byte("hello"))
		if !errors.Is(err, Cancelled) || time.Since(begin) > patience/2 {
			t.Fatalf("after %s: %v", time.Since(begin), err)
		}
	}
}

func TestCancelledCallLeavesNoAnswerBehind(t *testing.T) {
	lines := &Lines{Path: serve(t, "lines-late", "2"), Timeout: patience}
	defer lines.Close()
	for i := 0; i < 3; i++ {
		if _, err := lines.Call(withTimeout(t, 50*time.Millisecond), []byte("slow")); !errors.Is(err, TimedOut) {
			t.Fatal(err)
		}
		line := fmt.Sprintf("line %d", i)
		if reply, err := lines.Call(background, []byte(line)); string(reply) != line {
			t.Fatalf("%q, %v", reply, err)
		}
	}
}

func TestContextsDeadlineIsATimeout(t *testing.T) {
	path := serve(t, "never-answers")
	_, err := Client{Path: path, Timeout: patience}.Call(withTimeout(t, 200*time.Millisecond), []byte("hello"))
	var timeout interface{ Timeout() bool }
	if !errors.Is(err, TimedOut) || !errors.Is(err, context.DeadlineExceeded) || !errors.As(err, &timeout) || !timeout.Timeout() {
		t.Error(err)
	}
}

func TestHeldUpProcessLosesNoReply(t *testing.T) {
	path := serve(t, "echo")
	connection, err := attempt(path)
	if err != nil {
		t.Fatal(err)
	}
	defer connection.close()
	e := exchange{
		connection: connection, path: path, request: []byte("hello"), scanner: AtClose().scanner(100), halfClose: true,
		maxReply: 100, deadline: deadline{start: time.Now(), timeout: patience},
	}
	e.traits = e.scanner.traits()
	e.beginSending()
	for connection.isQuiet() {
		time.Sleep(time.Millisecond)
	}
	time.Sleep(100 * time.Millisecond) // the close, too
	e.deadline.timeout = 0
	_ = connection.socket.SetDeadline(past)
	if err := e.receiveAll(background); err != nil || string(e.reply) != "hello" || !e.closed {
		t.Fatalf("%q, %v", e.reply, err)
	}
}

func TestGoroutinesGetTheirOwnAnswers(t *testing.T) {
	lines := &Lines{Path: serve(t, "lines-late", "0.05"), Timeout: patience}
	defer lines.Close()
	var group sync.WaitGroup
	for worker := 0; worker < 16; worker++ {
		group.Add(1)
		go func(worker int) {
			defer group.Done()
			for i := 0; i < 50; i++ {
				line := fmt.Sprintf("%d %d", worker, i)
				if i%10 == 0 {
					line = "slow " + line
				}
				ctx := background
				if i%7 == 0 {
					var cancel context.CancelFunc
					ctx, cancel = context.WithTimeout(background, time.Duration(i)*time.Millisecond)
					defer cancel()
				}
				if reply, err := lines.Call(ctx, []byte(line)); err == nil && string(reply) != line || err != nil && i%7 != 0 {
					t.Errorf("%q: %q, %v", line, reply, err)
				}
			}
		}(worker)
	}
	group.Wait()
	if len(lines.pool.idle) > 16 {
		t.Error(len(lines.pool.idle))
	}
}

// A server that does everything wrong but answer twice, and impatient callers: no answer reaches another call.
func TestChaos(t *testing.T) {
	lines := &Lines{Path: serve(t, "lines-chaos")}
	defer lines.Close()
	client := &HTTP{Path: serve(t, "http-chaos")}
	defer client.Close()
	asks := map[string]func(context.Context, string) (string, error){
		"lines": func(ctx context.Context, name string) (string, error) {
			reply, err := lines.Call(ctx, []byte(name))
			return string(reply), err
		},
		"http": func(ctx context.Context, name string) (string, error) {
			response, err := client.Do(ctx, "POST", "/", nil, []byte(name))
			if err != nil {
				return "", err
			}
			if response.Status == 503 {
				return name, nil
			}
			return strings.TrimPrefix(string(response.Body), "POST / "), nil
		},
	}
	for via, ask := range asks {
		var group sync.WaitGroup
		var answered int32
		for worker := 0; worker < 8; worker++ {
			group.Add(1)
			go func(worker int) {
				defer group.Done()
				for i := 0; i < 60; i++ {
					ctx, cancel := context.WithCancel(background)
					patience := []time.Duration{20, 100, 1000}[rand.Intn(3)] * time.Millisecond
					time.AfterFunc(patience, cancel)
					name := fmt.Sprintf("%s %d %d", via, worker, i)
					reply, err := ask(ctx, name)
					cancel()
					switch {
					case err == nil && reply == name:
						atomic.AddInt32(&answered, 1)
					case err == nil:
						t.Errorf("%q got %q", name, reply)
					case !errors.Is(err, Cancelled) && !errors.Is(err, ConnectionLost) && !errors.Is(err, ServerError):
						t.Error(err)
					}
				}
			}(worker)
		}
		group.Wait()
		if answered == 0 {
			t.Errorf("%s: no answer", via)
		}
	}
}

func TestIdleEndThatComesWithTheRequest(t *testing.T) {
	lines := &Lines{Path: serve(t, "lines"), Timeout: patience}
	defer lines.Close()
	if _, err := lines.Call(background, []byte("a")); err != nil {
		t.Fatal(err)
	}
	// The server's SHUT_RD as seen from here: the look finds nothing, and sends fail by EPIPE.
	if err := lines.pool.idle[0].socket.CloseWrite(); err != nil {
		t.Fatal(err)
	}
	if reply, err := lines.Call(background, []byte("b")); string(reply) != "b" {
		t.Fatalf("%q, %v", reply, err)
	}
}

func TestLineSaidBeforeAnyRequest(t *testing.T) {
	path := serve(t, "lines-unasked")
	connection, err := attempt(path)
	if err != nil {
		t.Fatal(err)
	}
	defer connection.close()
	for connection.isQuiet() {
		time.Sleep(time.Millisecond)
	}
	err = checkUnasked(connection, path)
	var e *Error
	if !errors.As(err, &e) || e.Kind != MalformedReply || e.MayHaveRun || string(e.Reply) != "welcome\n" {
		t.Error(err)
	}
}

func TestRestartedServer(t *testing.T) {
	path := filepath.Join(t.TempDir(), "s")
	serveEcho := func() func() {
		listener, err := net.Listen("unix", path)
		if err != nil {
			t.Fatal(err)
		}
		var peers []net.Conn
		var mutex sync.Mutex
		go func() {
			for {
				peer, err := listener.Accept()
				if err != nil {
					return
				}
				mutex.Lock()
				peers = append(peers, peer)
				mutex.Unlock()
				go io.Copy(peer, peer)
			}
		}()
		return func() {
			listener.Close()
			mutex.Lock()
			defer mutex.Unlock()
			for _, peer := range peers {
				peer.Close()
			}
		}
	}
	lines := &Lines{Path: path, Timeout: patience}
	defer lines.Close()
	for _, line := range []string{"a", "b", "c"} {
		stop := serveEcho()
		if reply, err := lines.Call(background, []byte(line)); string(reply) != line {
			t.Errorf("%q, %v", reply, err)
		}
		stop()
	}
}

func echoes(t *testing.T, path string) {
	t.Helper()
	client := &HTTP{Path: path, Timeout: patience}
	defer client.Close()
	for i := 0; i < 20; i++ {
		body := bytes.Repeat([]byte{byte(i)}, i*1000)
		response, err := client.Do(background, "POST", fmt.Sprintf("/%d", i), nil, body)
		if err != nil || response.Status != 200 || !bytes.Equal(response.Body, body) {
			t.Fatalf("%d: %+v, %v", i, response, err)
		}
	}
	if len(client.pool.idle) != 1 {
		t.Errorf("%d idle connections", len(client.pool.idle))
	}
}

func TestUnhangServe(t *testing.T) {
	program := os.Getenv("UNHANG_BIN")
	if program == "" {
		t.Skip("UNHANG_BIN does not say where unhang is")
	}
	path := filepath.Join(t.TempDir(), "s")
	command := exec.Command(program, "serve", path, "--max-request", "100B")
	stdout, err := command.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := command.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() {
		_ = command.Process.Signal(syscall.SIGTERM)
		_, _ = io.Copy(io.Discard, stdout)
		_ = command.Wait()
	}()
	if _, err := stdout.Read(make([]byte, 100)); err != nil { // its first line says that it listens
		t.Fatal(err)
	}
	client := Client{Path: path, Timeout: patience}
	if reply, err := client.Call(background, []byte("hello")); err != nil || !bytes.HasPrefix(reply, []byte("OK")) {
		t.Errorf("%q, %v", reply, err)
	}
	for _, size := range []int{101, 3_000_000} {
		_, err := client.Call(background, make([]byte, size))
		var e *Error
		if !errors.As(err, &e) || e.Reason != "the request is longer than 100 bytes" {
			t.Error(err)
		}
	}
}

func TestNetHTTP(t *testing.T) {
	path := filepath.Join(t.TempDir(), "s")
	listener, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	server := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		// Not while it reads: net/http throws the rest of the request away as soon as it writes.
		body, _ := io.ReadAll(r.Body)
		_, _ = w.Write(body) // in chunks, beyond what net/http buffers
	})}
	go func() { _ = server.Serve(listener) }()
	defer server.Close()
	echoes(t, path)
}

func TestNodeHTTP(t *testing.T) {
	if _, err := exec.LookPath("node"); err != nil {
		if os.Getenv("UNHANG_REQUIRE_ALL") != "" {
			t.Fatal(err)
		}
		t.Skip(err)
	}
	path := filepath.Join(t.TempDir(), "s")
	start(t, "node", "-e", `const server = require('http').createServer((request, reply) => request.pipe(reply));
server.listen(process.argv[1], () => console.log('ready'));
process.stdin.resume().on('end', () => process.exit());`, path)
	echoes(t, path)
}
