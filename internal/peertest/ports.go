package peertest

import (
	"fmt"
	"math/rand/v2"
	"net"
	"strconv"
	"testing"
)

// Ports are handed out in blocks, below the range from which Linux takes the
// ports of sockets that did not ask for one (32768 and up).
const (
	firstPort  = 12000
	lastPort   = 32000
	blockPorts = 40
)

// block is a run of ports on 127.0.0.1 that belongs to one test.
type block struct {
	t                 testing.TB
	first, used, size int
}

// reserve takes a block of ports. Another test process that uses this package
// cannot have the same one: the claim is an abstract Unix socket that lives as long as the
// test. Each port was free for TCP and UDP when it was taken.
func reserve(t testing.TB, ports int) *block {
	t.Helper()
	n := (ports + blockPorts - 1) / blockPorts
	for range 200 {
		first := firstPort + blockPorts*rand.IntN((lastPort-firstPort)/blockPorts-n)
		if claim(t, first, n) {
			return &block{t: t, first: first, size: n * blockPorts}
		}
	}
	t.Fatal("peertest: no free ports on 127.0.0.1")
	return nil
}

// claim takes n blocks from the port first on, or none.
func claim(t testing.TB, first, n int) bool {
	var held []net.Listener
	release := func() {
		for _, l := range held {
			l.Close()
		}
	}
	for i := range n {
		l, err := net.Listen("unix", "@hoorn-peertest-"+strconv.Itoa(first+i*blockPorts))
		if err != nil {
			release()
			return false
		}
		held = append(held, l)
	}
	for port := first; port < first+n*blockPorts; port++ {
		if !free(port) {
			release()
			return false
		}
	}
	t.Cleanup(release)
	return true
}

func free(port int) bool {
	addr := "127.0.0.1:" + strconv.Itoa(port)
	l, err := net.Listen("tcp", addr)
	if err != nil {
		return false
	}
	defer l.Close()
	c, err := net.ListenPacket("udp", addr)
	if err != nil {
		return false
	}
	c.Close()
	return true
}

// take hands out the next n ports of the block and returns the first.
func (b *block) take(n int) int {
	if b.used+n > b.size {
		b.t.Fatalf("peertest: block of %d ports is used up", b.size)
	}
	p := b.first + b.used
	b.used += n
	return p
}

func loopback(port int) string { return fmt.Sprintf("127.0.0.1:%d", port) }
