package peertest

import (
	"errors"
	"fmt"
	"net"
	"strconv"
	"strings"
	"testing"
	"time"
)

// rtpenginePorts is how many ports it gets for media: two for each side of each stream.
const rtpenginePorts = 200

// RTPEngine is a running media relay.
type RTPEngine struct {
	Addr string // of its control protocol ("ng")
	Log  *Output

	firstPort, lastPort int
	proc                *process
}

// StartRTPEngine starts an rtpengine in user space on loopback and returns
// when it answers. It ends with the test.
func StartRTPEngine(t testing.TB) *RTPEngine {
	t.Helper()
	Need(t, "rtpengine")
	dir := tempDir(t, "rtpengine")
	ports := reserve(t, 2+rtpenginePorts)
	ng := ports.take(2)
	first := ports.take(rtpenginePorts)
	r := &RTPEngine{Addr: loopback(ng), firstPort: first, lastPort: first + rtpenginePorts - 1}
	r.proc = start(t, spec{program: "rtpengine", dir: dir, args: []string{
		"--config-file=none", "--foreground", "--log-stderr", "--log-level=6",
		"--table=-1", // no kernel module
		"--interface=127.0.0.1", "--listen-ng=" + r.Addr, "--pidfile=" + dir + "/pid",
		"--port-min=" + strconv.Itoa(r.firstPort), "--port-max=" + strconv.Itoa(r.lastPort),
	}})
	r.Log = r.proc.out
	if err := eventually(t.Context(), r.ping); err != nil {
		t.Fatalf("peertest: rtpengine does not answer: %v", err)
	}
	return r
}

// ping asks over the control protocol: a cookie and a bencoded dictionary each way.
func (r *RTPEngine) ping() error {
	if !r.proc.running() {
		return errors.New("rtpengine ended")
	}
	c, err := net.Dial("udp", r.Addr)
	if err != nil {
		return err
	}
	defer c.Close()
	if err := c.SetDeadline(time.Now().Add(200 * time.Millisecond)); err != nil {
		return err
	}
	if _, err := c.Write([]byte("1 d7:command4:pinge")); err != nil {
		return err
	}
	b := make([]byte, 1500)
	n, err := c.Read(b)
	if err != nil {
		return err
	}
	if !strings.Contains(string(b[:n]), "4:pong") {
		return fmt.Errorf("answer to ping: %q", b[:n])
	}
	return nil
}

// Relays reports whether a UDP port is one of those it receives media on.
func (r *RTPEngine) Relays(port int) bool { return port >= r.firstPort && port <= r.lastPort }
