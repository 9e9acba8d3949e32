// A server whose handlers hang as its first argument says, and a client that reads to the end.
package main

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"sync"
)

var lock sync.Mutex

func handle(conn net.Conn, how string) {
	switch how {
	case "forget": // The classic: it answers, and returns.
		conn.Read(make([]byte, 512))
		io.WriteString(conn, "OK\n")
	case "to-end":
		io.ReadAll(conn)
		conn.Close()
	case "to-length":
		io.ReadAll(io.LimitReader(conn, 4096))
		conn.Close()
	case "to-line":
		bufio.NewReader(conn).ReadString('\n')
		conn.Close()
	case "again":
		for {
			conn.Read(make([]byte, 512))
		}
	case "lock":
		conn.Read(make([]byte, 512))
		lock.Lock()
	}
}

func call(path string) {
	conn, err := net.Dial("unix", path)
	if err != nil {
		panic(err)
	}
	io.WriteString(conn, "request")
	fmt.Println("ready")
	io.ReadAll(conn)
}

func main() {
	how, path := os.Args[1], os.Args[2]
	if how == "call" {
		call(path)
		return
	}
	lock.Lock()
	listener, err := net.Listen("unix", path)
	if err != nil {
		panic(err)
	}
	fmt.Println("ready")
	if how == "body" {
		panic(http.Serve(listener, http.HandlerFunc(func(_ http.ResponseWriter, request *http.Request) {
			io.ReadAll(request.Body)
		})))
	}
	for {
		conn, err := listener.Accept()
		if err != nil {
			panic(err)
		}
		go handle(conn, how)
	}
}
