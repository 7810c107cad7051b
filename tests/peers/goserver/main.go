// Command goserver is a Go program as people write them: it serves net/http/pprof, keeps a CPU busy
// in known shares (spinLong three times as long as spinShort), and holds 32 MiB of memory.
package main

import (
	"fmt"
	"net"
	"net/http"
	_ "net/http/pprof"
	"os"
)

var (
	held [][]byte
	sum  uint64
)

//go:noinline
func spin(rounds int) {
	for i := 0; i < rounds; i++ {
		sum = sum*6364136223846793005 + uint64(i)
	}
}

//go:noinline
func spinLong() { spin(30_000_000); sum++ }

//go:noinline
func spinShort() { spin(10_000_000); sum++ }

//go:noinline
func holdMemory() {
	for i := 0; i < 32; i++ {
		held = append(held, make([]byte, 1<<20))
	}
}

func main() {
	holdMemory()
	socket, err := net.Listen("tcp", os.Args[1])
	if err != nil {
		panic(err)
	}
	fmt.Println("ready")
	go func() { panic(http.Serve(socket, nil)) }()
	for {
		spinLong()
		spinShort()
	}
}
