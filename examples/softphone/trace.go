package main

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"regexp"
	"strings"
	"sync"
	"time"

	"github.com/hoorn-phone/hoorn/media"
	"github.com/hoorn-phone/hoorn/sip"
	"github.com/hoorn-phone/hoorn/sip/siptrace"
)

// trace shows and keeps what goes over the wire. Its methods do nothing where
// neither was asked for.
type trace struct {
	shown io.Writer // nil: nobody looks

	mu   sync.Mutex
	file *os.File // nil: nothing is kept
	buf  *bufio.Writer
	pcap *siptrace.Writer
	err  error // the first one
}

// newTrace opens the capture, if one is wanted. Only its owner can read it: the
// keys of the calls are in it.
func newTrace(c *console, set *settings) (*trace, error) {
	t := new(trace)
	if set.verbose {
		t.shown = c.err
	}
	if set.pcap == "" {
		return t, nil
	}
	f, err := os.OpenFile(set.pcap, os.O_CREATE|os.O_WRONLY|os.O_TRUNC, 0o600)
	if err != nil {
		return nil, err
	}
	t.file, t.buf = f, bufio.NewWriter(f)
	if t.pcap, err = siptrace.NewWriter(t.buf); err != nil {
		f.Close()
		return nil, err
	}
	return t, nil
}

// close completes the capture. The error is the first one there was.
func (t *trace) close() error {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.file == nil {
		return nil
	}
	t.note(t.buf.Flush())
	t.note(t.file.Close())
	t.file = nil
	return t.err
}

func (t *trace) note(err error) {
	if t.err == nil && err != nil {
		t.err = fmt.Errorf("capture: %w", err)
	}
}

// attach lets the trace see the messages of a user agent.
func (t *trace) attach(cfg *sip.Config) {
	if t.shown == nil && t.file == nil {
		return
	}
	who := cfg.Account.AOR
	cfg.Tap = func(p sip.Packet) {
		t.mu.Lock()
		defer t.mu.Unlock()
		if t.shown != nil {
			fmt.Fprint(t.shown, show(who, p))
		}
		if t.file != nil {
			t.note(t.pcap.SIP(p))
		}
	}
}

// listenPacket lets the trace see the packets of an engine, as they are on the wire.
func (t *trace) listenPacket(cfg *media.Config) {
	if t.file == nil {
		return
	}
	cfg.ListenPacket = func(ctx context.Context, network, addr string) (net.PacketConn, error) {
		var lc net.ListenConfig
		conn, err := lc.ListenPacket(ctx, network, addr)
		if err != nil {
			return nil, err
		}
		return &tappedConn{PacketConn: conn, t: t, local: addrPort(conn.LocalAddr())}, nil
	}
}

// tappedConn is a socket whose packets go into the capture.
type tappedConn struct {
	net.PacketConn
	t     *trace
	local netip.AddrPort
}

func (c *tappedConn) ReadFrom(p []byte) (int, net.Addr, error) {
	n, from, err := c.PacketConn.ReadFrom(p)
	if err == nil {
		c.t.datagram(addrPort(from), c.local, p[:n])
	}
	return n, from, err
}

func (c *tappedConn) WriteTo(p []byte, to net.Addr) (int, error) {
	c.t.datagram(c.local, addrPort(to), p)
	return c.PacketConn.WriteTo(p, to)
}

func (t *trace) datagram(from, to netip.AddrPort, p []byte) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.file != nil {
		t.note(t.pcap.UDP(time.Now(), from, to, p))
	}
}

func addrPort(a net.Addr) netip.AddrPort {
	if u, ok := a.(*net.UDPAddr); ok {
		return u.AddrPort()
	}
	return netip.AddrPort{}
}

// key finds what nobody should see over somebody's shoulder: SRTP keys (RFC
// 4568 §9.1) and what a password proves itself with.
var key = regexp.MustCompile(`(inline:)[^\s|]+|((?i:response|cnonce)=)"[^"]*"`)

// show makes a message readable, keys left out.
func show(who string, p sip.Packet) string {
	arrow := "<--"
	if p.Sent {
		arrow = "-->"
	}
	body := strings.TrimRight(string(bytes.ReplaceAll(p.Data, []byte("\r\n"), []byte("\n"))), "\n")
	if body == "" {
		body = "(keep-alive)"
	}
	body = key.ReplaceAllString(body, "$1$2…")
	return fmt.Sprintf("%s %s %s %s %s\n%s\n\n", p.Time.Format("15:04:05.000"), who, arrow, p.Transport, p.Remote, printable(body))
}

// printable leaves out what would do something to a terminal.
func printable(s string) string {
	return strings.Map(func(r rune) rune {
		if r < ' ' && r != '\n' && r != '\t' || r == 0x7f || r >= 0x80 && r < 0xa0 {
			return '·'
		}
		return r
	}, s)
}
