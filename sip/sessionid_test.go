package sip

import (
	"strings"
	"testing"
	"testing/synctest"

	sipgo "github.com/emiago/sipgo/sip"

	"github.com/hoorn-phone/hoorn/internal/sipwire"
	"github.com/hoorn-phone/hoorn/sip/offeranswer"
)

// The UUIDs of RFC 7989 §10.1: Alice's and Bob's.
const (
	uuidA = "ab30317f1a784dc48ff824d0d3715d86"
	uuidB = "47755a9de7794ba387653f2099600ef2"
)

// session reads a Session-ID that has to be in a message.
func sessionOf(t *testing.T, m sipgo.Message) (local, remote string) {
	t.Helper()
	v := sipwire.Header(m, "Session-ID")
	local, remote, ok := strings.Cut(v, ";remote=")
	if !ok || len(local) != 32 || len(remote) != 32 || local == nilUUID {
		t.Errorf("Session-ID: %q", v)
	}
	return local, remote
}

// Every request and response of a call has the Session-ID (RFC 7989 §6).
func TestSessionID(t *testing.T) {
	bubbles(t, "§10.1: we are called", func(t *testing.T, s *server) {
		ua, c := registered(t, s, s.config(), 3600)
		in := called(t, ua, c, "x", "Session-ID:"+uuidA+";remote="+nilUUID)
		c.response(100)
		_ = in.Ring(t.Context())
		ringing := c.response(180)
		ours, remote := sessionOf(t, ringing)
		if remote != uuidA || ours[12] != '4' || !strings.ContainsRune("89ab", rune(ours[16])) {
			t.Errorf("180: %s, %s", ours, remote)
		}
		same := func(m sipgo.Message, wantRemote string) {
			t.Helper()
			if l, r := sessionOf(t, m); l != ours || r != wantRemote {
				t.Errorf("%s;remote=%s, want %s;remote=%s", l, r, ours, wantRemote)
			}
		}
		tag := sipwire.ToTag(ringing)
		go in.Answer(t.Context(), nil)
		same(c.response(200), uuidA)
		c.ask("ACK", "x", "b2", 1, tag, "")
		synctest.Wait()
		c.ask("OPTIONS", "x", "b3", 2, tag, "")
		same(c.response(200), uuidA)
		c.ask("UPDATE", "x", "b4", 3, tag, "", "Require: nothing")
		same(c.response(420), uuidA)
		// A server connects us with somebody else: his half is in his requests.
		c.ask("UPDATE", "x", "b5", 4, tag, "", "Session-ID:"+strings.ToUpper(uuidB)+";remote="+ours)
		same(c.response(200), uuidB)
		if got := in.Identity().SessionID; got != (SessionID{Local: ours, Remote: uuidB}) {
			t.Errorf("%+v", got)
		}
		go in.Renegotiate(t.Context(), offeranswer.Options{})
		again := c.request("INVITE")
		same(again, uuidB)
		c.reply(again, 488)
		same(c.request("ACK"), uuidB)
		_ = in.Hangup(t.Context())
		bye := c.request("BYE")
		same(bye, uuidB)
		c.reply(bye, 200)
	})
	bubbles(t, "§10.1: we call", func(t *testing.T, s *server) {
		ua, c := registered(t, s, s.config(), 3600)
		out, err := ua.Start(t.Context(), "bob", nil)
		if err != nil {
			t.Fatal(err)
		}
		invite := c.request("INVITE")
		ours, remote := sessionOf(t, invite)
		if remote != nilUUID {
			t.Errorf("§6: the first INVITE's remote is %s", remote)
		}
		c.replySDP(invite, 200, "Session-ID:"+uuidB+";remote="+ours)
		if l, r := sessionOf(t, c.request("ACK")); l != ours || r != uuidB {
			t.Errorf("ACK: %s, %s", l, r)
		}
		if err := out.Answered(t.Context()); err != nil {
			t.Fatal(err)
		}
		if got := out.Identity().SessionID; got != (SessionID{Local: ours, Remote: uuidB}) {
			t.Errorf("%+v", got)
		}
	})
	bubbles(t, "CANCEL, its answer and what it makes of the INVITE", func(t *testing.T, s *server) {
		ua, c := registered(t, s, s.config(), 3600)
		out, err := ua.Start(t.Context(), "bob", nil)
		if err != nil {
			t.Fatal(err)
		}
		invite := c.request("INVITE")
		want := sipwire.Header(invite, "Session-ID")
		c.reply(invite, 180, "Session-ID:"+uuidB+";remote="+strings.TrimSuffix(want, ";remote="+nilUUID))
		synctest.Wait()
		_ = out.Hangup(t.Context())
		cancel := c.request("CANCEL")
		if got := sipwire.Header(cancel, "Session-ID"); got != want {
			t.Errorf("CANCEL has %q, its INVITE %q", got, want)
		}
		c.reply(cancel, 200)
		c.reply(invite, 487)
		if got := sipwire.Header(c.request("ACK"), "Session-ID"); got != want {
			t.Errorf("ACK has %q", got)
		}

		c.ask("INVITE", "x", "b", 1, "", sdpBody, "Session-ID:"+uuidA+";remote="+nilUUID)
		c.response(100)
		c.ask("CANCEL", "x", "b", 1, "", "", "Session-ID:"+uuidA+";remote="+nilUUID)
		ours, remote := sessionOf(t, c.response(200))
		if l, r := sessionOf(t, c.response(487)); remote != uuidA || l != ours || r != uuidA {
			t.Errorf("%s, %s; %s, %s", ours, remote, l, r)
		}
	})
	bubbles(t, "a call that is refused at once", func(t *testing.T, s *server) {
		_, c := registered(t, s, s.config(), 3600)
		c.ask("INVITE", "x", "b", 1, "", sdpBody, "Session-ID:"+uuidA+";remote="+nilUUID, "Require: nothing")
		if _, r := sessionOf(t, c.response(420)); r != uuidA {
			t.Error(r)
		}
	})
	bubbles(t, "not wanted", func(t *testing.T, s *server) {
		cfg := s.config()
		cfg.NoSessionID = true
		ua, c := registered(t, s, cfg, 3600)
		if _, err := ua.Start(t.Context(), "bob", nil); err != nil {
			t.Fatal(err)
		}
		if r := c.request("INVITE"); sipwire.Header(r, "Session-ID") != "" {
			t.Errorf("%v", r)
		}
	})
}

func TestParseSessionID(t *testing.T) {
	for value, want := range map[string]string{
		uuidA + ";remote=" + nilUUID:              uuidA,
		" " + strings.ToUpper(uuidA) + " ;remote": uuidA,
		uuidA:                                  uuidA, // RFC 7329
		uuidA + "0":                            "",
		"ab30317f-1a78-4dc4-8ff8-24d0d3715d86": "",
		"":                                     "",
		strings.Repeat("g", 32):                "",
	} {
		if got, ok := parseSessionID(value); got != want || ok != (want != "") {
			t.Errorf("%q: %q, %v", value, got, ok)
		}
	}
}

// replySDP answers a request with a session description.
func (c *conn) replySDP(req *sipgo.Request, status int, lines ...string) {
	tag := ""
	if sipwire.ToTag(req) == "" {
		tag = "server"
	}
	lines = append(lines, "Contact: <sip:10.0.0.2:5061;transport=tls>", "Content-Type: application/sdp")
	c.write(withLines(sipwire.ResponseTo(req, status, "", tag), sdpBody, lines))
}
