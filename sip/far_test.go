package sip

import (
	"crypto/tls"
	"fmt"
	"net/netip"
	"strings"
	"testing"
	"time"

	sipgo "github.com/emiago/sipgo/sip"

	"github.com/hoorn-phone/hoorn/internal/memnet"
	"github.com/hoorn-phone/hoorn/internal/sipwire"
	"github.com/hoorn-phone/hoorn/internal/transport"
)

// far is a scripted peer on any transport. It answers pings and STUN by
// itself; everything else is the test's.
type far struct {
	t  *testing.T
	tr *transport.Transport
	in chan received
}

// received is a message with the way back.
type received struct {
	flow *transport.Flow
	req  *sipgo.Request
	res  *sipgo.Response
}

func newFar(t *testing.T, h *memnet.Host, cfg *tls.Config, listen ...string) *far {
	t.Helper()
	f := &far{t: t, in: make(chan received, 64)}
	f.tr = transport.New(transport.Config{Dial: h.Dial, Listen: h.Listen, ListenPacket: h.ListenPacket, TLS: cfg}, f)
	t.Cleanup(func() { f.tr.Close() })
	for _, where := range listen {
		proto, addr, _ := strings.Cut(where, ":")
		if _, err := f.tr.Listen(t.Context(), transport.Proto(proto), addr); err != nil {
			t.Fatal(err)
		}
	}
	return f
}

func (f *far) Accepted(*transport.Flow) {}
func (f *far) Message(fl *transport.Flow, m sipgo.Message, _ []byte) {
	r := received{flow: fl}
	r.req, _ = m.(*sipgo.Request)
	r.res, _ = m.(*sipgo.Response)
	f.in <- r
}
func (f *far) Bad(_ *transport.Flow, bad *sipwire.BadMessage)        { f.t.Errorf("cannot be read: %v", bad) }
func (f *far) Pong(*transport.Flow)                                  {}
func (f *far) STUN(*transport.Flow, [12]byte, netip.AddrPort, error) {}
func (f *far) Closed(*transport.Flow, error)                         {}

// request waits for a request; anything else in between fails the test.
func (f *far) request(method string) received {
	f.t.Helper()
	select {
	case r := <-f.in:
		if r.req == nil || string(r.req.Method) != method {
			f.t.Fatalf("got %v %v, want %s", r.req, r.res, method)
		}
		return r
	case <-time.After(2 * time.Hour):
		f.t.Fatalf("no %s came", method)
		return received{}
	}
}

// reply answers a request; lines are further header fields.
func (r received) reply(status int, lines ...string) {
	tag := ""
	if sipwire.ToTag(r.req) == "" {
		tag = "far"
	}
	body := ""
	for i, l := range lines {
		if strings.HasPrefix(l, "v=0") {
			lines, body = lines[:i], l
			lines = append(lines, "Content-Type: application/sdp")
			break
		}
	}
	_ = r.flow.Send([]byte(withLines(sipwire.ResponseTo(r.req, status, "", tag), body, lines)))
}

// granted answers a REGISTER with 200.
func (r received) granted(expires int, lines ...string) {
	r.reply(200, append([]string{fmt.Sprintf("Contact: %s;expires=%d", contactOf(r.req), expires)}, lines...)...)
}
