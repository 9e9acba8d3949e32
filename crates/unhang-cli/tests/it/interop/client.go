// A client as Go's users write it: client SOCKET HALF-CLOSE, with the message on standard input.
package main

import (
	"io"
	"log"
	"net"
	"os"
)

func main() {
	message, err := io.ReadAll(os.Stdin)
	if err != nil {
		log.Fatal(err)
	}
	conn, err := net.Dial("unix", os.Args[1])
	if err != nil {
		log.Fatal(err)
	}
	defer conn.Close()
	if _, err := conn.Write(message); err != nil {
		log.Fatal(err)
	}
	if os.Args[2] == "true" {
		if err := conn.(*net.UnixConn).CloseWrite(); err != nil {
			log.Fatal(err)
		}
	}
	if _, err := io.Copy(os.Stdout, conn); err != nil {
		log.Fatal(err)
	}
}
