package siptrace

import (
	"testing"
	"time"

	"github.com/hoorn-phone/hoorn/sip"
)

func TestSIP(t *testing.T) {
	const message = "OPTIONS sip:pbx.example SIP/2.0\r\nContent-Length: 0\r\n\r\n"
	for _, c := range []struct {
		transport sip.Transport
		proto     byte
	}{{sip.UDP, 17}, {sip.TCP, 6}, {sip.TLS, 6}, {sip.WS, 6}, {sip.WSS, 6}} {
		for _, sent := range []bool{true, false} {
			w, file := newWriter(t)
			p := sip.Packet{Time: time.Unix(1, 2), Sent: sent, Transport: c.transport, Local: alice4, Remote: pbx4, Data: []byte(message)}
			if err := w.SIP(p); err != nil {
				t.Fatal(err)
			}
			packets := read(t, file.Bytes())
			got := packets[len(packets)-1] // behind the handshake
			src, dst := pbx4, alice4
			if sent {
				src, dst = dst, src
			}
			if got.src != src || got.dst != dst || got.proto != c.proto || string(got.payload) != message || !got.t.Equal(p.Time) {
				t.Errorf("%s, sent %v: protocol %d from %v to %v at %v: %q", c.transport, sent, got.proto, got.src, got.dst, got.t, got.payload)
			}
		}
	}
}
