// A server whose handlers hang as the first byte of the request says.
package main

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
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

//go:noinline
func page(w http.ResponseWriter, r *http.Request) {
	switch r.URL.Path {
	case "/lock":
		work()
	case "/events":
		select {
		case <-r.Context().Done():
		case <-make(chan int):
		}
	}
	io.WriteString(w, "OK\n")
}

//go:noinline
func work() {
	mutex.Lock() // The line that is to be named.
	mutex.Unlock()
}

func serve(listener net.Listener) {
	server := http.Server{
		Handler: http.HandlerFunc(page),
		ConnContext: func(c context.Context, connection net.Conn) context.Context {
			printDescriptor("accepted", connection)
			return c
		},
	}
	server.Serve(listener)
}

// Asks for a page that never comes, and for one that does, whose connection it keeps.
func ask(path string) {
	dialed := make(chan bool, 9)
	transport := http.Transport{
		DialContext: func(context.Context, string, string) (net.Conn, error) {
			connection, err := net.Dial("unix", path)
			if err == nil {
				printDescriptor("dialed", connection)
				dialed <- true
			}
			return connection, err
		},
	}
	client := http.Client{Transport: &transport}
	get := func(page string) {
		reply, err := client.Get("http://localhost" + page)
		if err != nil {
			panic(err)
		}
		io.ReadAll(reply.Body)
		reply.Body.Close()
	}
	go get("/lock")
	<-dialed
	get("/")
	select {}
}

// As text, since File() would make a second descriptor.
func printDescriptor(what string, connection net.Conn) {
	raw, _ := connection.(*net.UnixConn).SyscallConn()
	raw.Control(func(fd uintptr) { fmt.Println(what, fd) })
}

func main() {
	if os.Args[1] == "ask" {
		ask(os.Args[2])
	}
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
	case "http":
		serve(listener)
	}
}
