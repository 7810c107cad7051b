// Burns CPU time, 60 % in a(), 30 % in b(), 10 % in c(), and serves /debug/pprof. Goes on until killed.
package main

import (
	"fmt"
	"net"
	"net/http"
	_ "net/http/pprof"
	"os"
)

var sum int

func burn(turns int) {
	for i := 0; i < turns; i++ {
		sum = sum*31 + i
	}
}

//go:noinline
func a() { burn(6000000) }

//go:noinline
func b() { burn(3000000) }

type größe struct{}

//go:noinline
func (größe) c() { burn(1000000) }

func main() {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		panic(err)
	}
	go http.Serve(listener, nil)
	os.WriteFile("/proc/self/comm", []byte(os.Args[1]), 0)
	fmt.Println(listener.Addr())
	for {
		a()
		b()
		größe{}.c()
	}
}
