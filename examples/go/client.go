// Asks a server on a Unix socket: go run client.go SOCKET MESSAGE
package main

import (
	"io"
	"log"
	"net"
	"os"
	"time"
)

func main() {
	conn, err := net.Dial("unix", os.Args[1])
	check(err)
	defer conn.Close()
	check(conn.SetDeadline(time.Now().Add(5 * time.Second))) // for all that follows
	_, err = io.WriteString(conn, os.Args[2])
	check(err)
	check(conn.(*net.UnixConn).CloseWrite()) // our message is complete
	reply, err := io.ReadAll(conn)
	check(err)
	os.Stdout.Write(reply)
}

func check(err error) {
	if err != nil {
		log.Fatal(err)
	}
}
