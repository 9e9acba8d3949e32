// A server whose handlers hang as the first byte of the request says.
package main

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"os"
	"os/signal"
	"sync"
)

var mutex sync.Mutex

//go:noinline
func handle(c net.Conn) {
	what := make([]byte, 1)
	c.Read(what)
	switch what[0] {
	case 'f': // Answers and forgets to close.
		io.WriteString(c, "OK\n")
	case 'a':
		io.ReadAll(c)
	case 'l':
		bufio.NewReader(c).ReadString('\n')
	case 'c':
		readFully(c)
	case 'e':
		bufio.NewReader(c).WriteTo(c)
	case 'm':
		mutex.Lock()
		c.Close()
	}
}

// Small enough to be put into its caller by the compiler.
func readFully(c net.Conn) {
	io.ReadFull(c, make([]byte, 9))
}

func accept(listener net.Listener, handle func(net.Conn)) {
	for {
		c, err := listener.Accept()
		if err != nil {
			return
		}
		// As text, since File() would make a second descriptor.
		raw, _ := c.(*net.UnixConn).SyscallConn()
		raw.Control(func(fd uintptr) { fmt.Println("accepted", fd) })
		handle(c)
	}
}

func main() {
	signal.Notify(make(chan os.Signal, 1), os.Interrupt)
	mutex.Lock()
	listener, err := net.Listen("unix", os.Args[2])
	if err != nil {
		panic(err)
	}
	raw, _ := listener.(*net.UnixListener).SyscallConn()
	raw.Control(func(fd uintptr) { fmt.Println("listening", fd) })
	inTheBackground := func(c net.Conn) { go handle(c) }
	switch os.Args[1] {
	case "main accepts":
		accept(listener, inTheBackground)
	case "main selects":
		go accept(listener, inTheBackground)
		select {}
	case "main handles":
		accept(listener, handle)
	}
}
