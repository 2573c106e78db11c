package call

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	sipgo "github.com/emiago/sipgo/sip"

	"github.com/hoorn-phone/hoorn/internal/sipwire"
)

// withBody makes an INVITE with header fields and body as given.
func withBody(body string, headers ...string) *sipgo.Request {
	req := sipgo.NewRequest(sipgo.INVITE, sipgo.Uri{Scheme: "sip", Host: "example.com"})
	for _, h := range headers {
		name, value, _ := strings.Cut(h, ": ")
		if name == "Content-Type" {
			ct := sipgo.ContentTypeHeader(value)
			req.AppendHeader(&ct)
			continue
		}
		req.AppendHeader(sipgo.NewHeader(name, value))
	}
	req.SetBody([]byte(body))
	return req
}

func parts(types ...string) string {
	var b strings.Builder
	for i, t := range types {
		fmt.Fprintf(&b, "--frontier\r\n%s\r\n\r\npart %d\r\n", t, i)
	}
	return b.String() + "--frontier--\r\n"
}

// RFC 3261 §8.2.3, §20.11, §20.12; RFC 5621 §3.
func TestSDP(t *testing.T) {
	const multi = "Content-Type: multipart/mixed;boundary=frontier"
	many := make([]string, 2*maxParts)
	for i := range many {
		many[i] = "Content-Type: text/plain"
	}
	tests := []struct {
		name    string
		body    string
		headers []string
		want    string
		status  int // of the error; 0: none
	}{
		{name: "no body", headers: []string{"Content-Type: text/plain"}},
		{name: "plain", body: "v=0", headers: []string{"Content-Type: Application/SDP ; charset=utf-8"}, want: "v=0"},
		{name: "a parameter that cannot be read", body: "v=0", headers: []string{"Content-Type: application/sdp;x y"}, want: "v=0"},
		{name: "no type", body: "v=0", status: 400},
		{name: "no type at all", body: "v=0", headers: []string{"Content-Type: ;;;"}, status: 400},
		{name: "another type", body: "hello", headers: []string{"Content-Type: text/plain"}, status: 415},
		{name: "another type, optional", body: "hello", headers: []string{"Content-Type: text/plain", "Content-Disposition: render; Handling = OPTIONAL"}},
		{name: "another type, required", body: "hello", headers: []string{"Content-Type: text/plain", "Content-Disposition: render;handling=required;x=\"handling=optional\""}, status: 415},
		{name: "an encoding", body: "v=0", headers: []string{"Content-Type: application/sdp", "Content-Encoding: gzip"}, status: 415},
		{name: "no encoding", body: "v=0", headers: []string{"Content-Type: application/sdp", "Content-Encoding: identity"}, want: "v=0"},
		{name: "one part", body: parts("Content-Type: text/plain", "Content-Type: application/sdp;x=y"), headers: []string{multi}, want: "part 1"},
		{name: "an unknown kind of multipart", body: parts("Content-Type: application/sdp"), headers: []string{"Content-Type: multipart/strange;boundary=\"frontier\""}, want: "part 0"},
		{name: "no SDP among the parts", body: parts("Content-Type: text/plain"), headers: []string{multi}},
		{name: "no boundary", body: parts("Content-Type: application/sdp"), headers: []string{"Content-Type: multipart/mixed"}, status: 400},
		{name: "no end", body: "--frontier\r\nContent-Type: application/sdp\r\n\r\nv=0", headers: []string{multi}, status: 400},
		{name: "no parts", body: "nothing", headers: []string{multi}},
		{name: "broken part", body: "--frontier\r\nno colon\r\n\r\nv=0\r\n--frontier--", headers: []string{multi}, status: 400},
		{name: "too many parts", body: parts(append(many, "Content-Type: application/sdp")...), headers: []string{multi}},
	}
	for _, tt := range tests {
		got, err := SDP(withBody(tt.body, tt.headers...))
		if tt.status != 0 {
			if err == nil || StatusOf(err) != tt.status || err.Error() == "" {
				t.Errorf("%s: %v, want %d", tt.name, err, tt.status)
			}
			continue
		}
		if err != nil || string(got) != tt.want {
			t.Errorf("%s: %q, %v, want %q", tt.name, got, err, tt.want)
		}
	}
}

type coded int

func (c coded) Error() string  { return "coded" }
func (c coded) SIPStatus() int { return int(c) }

func TestStatusOf(t *testing.T) {
	for _, tt := range []struct {
		err  error
		want int
	}{
		{errNo, 488},
		{coded(606), 606},
		{coded(200), 488},
		{coded(700), 488},
		{fmt.Errorf("wrapped: %w", coded(415)), 415},
		{errors.Join(errNo, coded(480)), 480},
	} {
		if got := StatusOf(tt.err); got != tt.want {
			t.Errorf("%v: %d, want %d", tt.err, got, tt.want)
		}
	}
}

func FuzzSDP(f *testing.F) {
	f.Add("multipart/mixed;boundary=frontier", "render", parts("Content-Type: application/sdp"))
	f.Add("application/sdp", "session;handling=optional", "v=0")
	f.Fuzz(func(t *testing.T, ct, disposition, body string) {
		sdp, err := SDP(withBody(body, "Content-Type: "+ct, "Content-Disposition: "+disposition))
		if err == nil && len(sdp) > len(body) {
			t.Errorf("%d bytes out of %d", len(sdp), len(body))
		}
		if err != nil && (sdp != nil || StatusOf(err) < 400) {
			t.Errorf("%q with %v", sdp, err)
		}
	})
}

// A body that cannot be understood: refused by the callee at once, and in a
// call with the types that would be (RFC 3261 §8.2.3).
func TestUnknownBody(t *testing.T) {
	w, alice, bob := newWorld(t, true)
	req := rawInvite(alice, "x")
	ct := sipgo.ContentTypeHeader("text/plain")
	req.ReplaceHeader(&ct)
	alice.script = func(time.Time, sipgo.Message) {}
	alice.say(w.now, req)
	w.run(time.Second)
	if len(bob.incoming) != 0 || !slices.Contains(w.wire, "bob 415 INVITE") {
		t.Errorf("wire %q", w.wire)
	}

	w, alice, bob = newWorld(t, true)
	a, b := establish(t, w, alice, bob)
	var accept string
	req = a.active.request(sipgo.INVITE)
	setSDP(req, []byte("x"))
	req.ReplaceHeader(&ct)
	alice.via(req)
	alice.script = func(_ time.Time, m sipgo.Message) {
		if r, ok := m.(*sipgo.Response); ok && r.StatusCode == 415 {
			accept = sipwire.Header(r, "Accept")
		}
	}
	alice.say(w.now, req)
	w.run(time.Second)
	if accept != Accepted || b.State() != Established {
		t.Errorf("Accept: %q, %v", accept, b.State())
	}
}

func TestStrings(t *testing.T) {
	for s := Calling; s <= Ended+1; s++ {
		if str := s.String(); (s > Ended) != strings.HasPrefix(str, "State(") {
			t.Errorf("%d is %q", s, str)
		}
	}
}
