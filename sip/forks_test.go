package sip

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	sipgo "github.com/emiago/sipgo/sip"

	"github.com/hoorn-phone/hoorn/internal/sipwire"
	"github.com/hoorn-phone/hoorn/sip/offeranswer"
)

// showForks writes forks down: user, status, m for media, h for those heard.
func showForks(fs []Fork) string {
	var out []string
	for _, f := range fs {
		_, user, _ := strings.Cut(f.Remote.URI, ":")
		user, _, _ = strings.Cut(user, "@")
		s := fmt.Sprint(user, " ", f.Status)
		if f.Media {
			s += " m"
		}
		if f.Heard {
			s += " h"
		}
		out = append(out, s)
	}
	return strings.Join(out, ", ")
}

// forked has media that are watched.
func forked(made *[]*watched) func(*Config) {
	return func(c *Config) {
		*made = nil
		c.NewMedia = func(_ context.Context, env offeranswer.Env) (offeranswer.Media, error) {
			w := &watched{env: env}
			*made = append(*made, w)
			return w, nil
		}
	}
}

// begins calls bob, whose INVITE a server sends on to others.
func (s *stage) begins() (*Call, *actor) {
	s.t.Helper()
	c, err := s.ua.Start(s.t.Context(), "bob", nil)
	if err != nil {
		s.t.Fatal(err)
	}
	bob := s.actor("bob")
	bob.called()
	return c, bob
}

// RFC 3261 §12.1.2 and §13.2.2.4, RFC 3262 §4: every fork is a dialog of its own,
// with its provisional responses acknowledged in it. One of them is heard, the
// first to answer gets the call, and another gets ACK and BYE.
func TestForks_RFC3261_13_2_2_4(t *testing.T) {
	var made []*watched
	onStage(t, "two with early media", forked(&made), func(t *testing.T, s *stage) {
		c, bob := s.begins()
		carol, dave := bob.fork("carol"), bob.fork("dave")
		invite := bob.incoming.req.CSeq().SeqNo
		want := func(forks string) {
			t.Helper()
			pass(time.Millisecond)
			if got := showForks(c.Forks()); got != forks {
				t.Errorf("forks %q, want %q", got, forks)
			}
		}
		numbered := func(req *sipgo.Request, a *actor, number uint32) {
			t.Helper()
			if req.CSeq().SeqNo != number || sipwire.FormatURI(&req.Recipient) != "sip:"+a.name+"@10.0.0.2:5070" || string(*req.CallID()) != bob.id {
				t.Errorf("%s to %v has number %d, want %d", req.Method, &req.Recipient, req.CSeq().SeqNo, number)
			}
		}
		// Each dialog counts from the number of the INVITE (RFC 3261 §12.1.2).
		numbered(dave.reliably(180, 3, ""), dave, invite+1)
		want("dave 180")
		numbered(bob.reliably(183, 7, sdpBody), bob, invite+1)
		want("dave 180, bob 183 m h")
		carol.says(183, sdpBody, `P-Asserted-Identity: "Carol" <sip:1003@example.com>`)
		s.quiet(100 * time.Millisecond) // that one was not reliable
		want("dave 180, bob 183 m h, 1003 183 m")
		numbered(carol.reliably(180, 500, ""), carol, invite+1)
		numbered(bob.reliably(180, 8, ""), bob, invite+2)
		// "If the value of the RSeq is not one higher, ... the response MUST NOT be
		// acknowledged" (RFC 3262 §4), nor does it say anything.
		bob.says(182, "", "Require: 100rel", "RSeq: 10")
		s.quiet(100 * time.Millisecond)
		want("dave 180, bob 180 m h, 1003 180 m")
		fs := c.Forks()
		if fs[2].Remote.Name != "Carol" || fs[1].Remote.URI != "sip:bob@10.0.0.2:5070" || fs[0].ID == fs[1].ID {
			t.Errorf("%+v", fs)
		}

		for id, want := range map[string]error{"nobody": ErrFork, fs[0].ID: ErrFork, fs[2].ID: nil} {
			if err := c.Listen(t.Context(), id); !errors.Is(err, want) {
				t.Errorf("%q: %v, want %v", id, err, want)
			}
		}
		want("dave 180, bob 180 m, 1003 180 m h")
		if m := made[0]; m.selected != carol.local {
			t.Errorf("media hear %q", m.selected)
		}
		var told []string
		for _, e := range c.log.events {
			if e.Kind == ForksChanged {
				told = append(told, showForks(e.Forks))
			}
		}
		if len(told) == 0 || told[len(told)-1] != "dave 180, bob 180 m, 1003 180 m h" || !slices.Contains(told, "dave 180, bob 183 m h") {
			t.Errorf("told %q", told)
		}

		// Bob, who is not heard, is the first to answer.
		bob.answer(200)
		ack := s.request("ACK").req
		numbered(ack, bob, invite)
		if err := c.Answered(t.Context()); err != nil || len(c.Forks()) != 0 {
			t.Errorf("%v, forks %v", err, c.Forks())
		}
		if err := c.Listen(t.Context(), fs[2].ID); !errors.Is(err, ErrState) {
			t.Error(err)
		}
		pass(time.Millisecond)
		if m := made[0]; !slices.Equal(m.open, []string{bob.local}) || len(made) != 1 || m.overlapped {
			t.Errorf("legs %q are open, %d media, two operations at once: %v", m.open, len(made), m.overlapped)
		}
		// "The UAC core MUST generate an ACK request for each 2xx"; of the dialogs it
		// does not want, it "MUST terminate [them] with a BYE".
		pass(time.Second)
		carol.answer(200)
		numbered(s.request("ACK").req, carol, invite)
		bye := s.request("BYE")
		numbered(bye.req, carol, invite+2)
		if sipwire.ToTag(bye.req) != carol.local {
			t.Errorf("BYE to %s", sipwire.ToTag(bye.req))
		}
		bye.reply(200)
		dave.says(180, "") // nobody listens any more
		s.quiet(time.Second)
		if c.State() != CallEstablished || c.Dialog().RemoteTag != bob.local {
			t.Errorf("%v in %+v", c.State(), c.Dialog())
		}
		// And one that comes when the call is over already.
		go c.Hangup(t.Context())
		bob.bye()
		pass(time.Second)
		dave.answer(200)
		numbered(s.request("ACK").req, dave, invite)
		bye = s.request("BYE")
		numbered(bye.req, dave, invite+2)
		bye.reply(200)
		s.quiet(time.Minute)
		if n := s.kept(); n != 0 {
			t.Errorf("%d dialog sets are left", n)
		}
	})
	onStage(t, "none answers", forked(&made), func(t *testing.T, s *stage) {
		c, bob := s.begins()
		carol := bob.fork("carol")
		bob.says(183, sdpBody)
		carol.says(183, sdpBody)
		pass(time.Millisecond)
		bob.answer(486)
		s.request("ACK")
		var se *StatusError
		if err := c.Answered(t.Context()); !errors.As(err, &se) || se.Code != 486 || len(c.Forks()) != 0 {
			t.Errorf("%v, %v", err, c.Forks())
		}
		if err := c.Listen(t.Context(), carol.local); !errors.Is(err, ErrEnded) {
			t.Error(err)
		}
		pass(time.Millisecond)
		if !made[0].closed {
			t.Error("the media are open")
		}
	})
	// RFC 3264 §6: port 0 refuses the stream. There is nothing to hear.
	onStage(t, "one without media", forked(&made), func(t *testing.T, s *stage) {
		c, bob := s.begins()
		carol := bob.fork("carol")
		bob.says(183, strings.Replace(sdpBody, "m=audio 4000 ", "m=audio 0 ", 1))
		pass(time.Millisecond)
		if err := c.Listen(t.Context(), bob.local); !errors.Is(err, ErrFork) || showForks(c.Forks()) != "bob 183" {
			t.Errorf("%v, %q", err, showForks(c.Forks()))
		}
		carol.says(183, sdpBody)
		pass(time.Millisecond)
		if got := showForks(c.Forks()); got != "bob 183, carol 183 m h" {
			t.Errorf("forks %q", got)
		}
		go c.Hangup(t.Context())
		s.request("CANCEL").reply(200)
		bob.answer(487)
		s.request("ACK")
	})
	onStage(t, "an incoming call has none", nil, func(t *testing.T, s *stage) {
		c := s.actor("bob").calls()
		if err := c.Listen(t.Context(), "x"); !errors.Is(err, ErrState) || len(c.Forks()) != 0 {
			t.Errorf("%v, %v", err, c.Forks())
		}
	})
}

// RFC 6228 §4: 199 (Early Dialog Terminated) ends one early dialog; the INVITE
// goes on.
func TestForkEnds_RFC6228_4(t *testing.T) {
	var made []*watched
	onStage(t, "199", forked(&made), func(t *testing.T, s *stage) {
		c, bob := s.begins()
		carol, dave := bob.fork("carol"), bob.fork("dave")
		if !sipwire.HasToken(bob.incoming.req, "Supported", "199") {
			t.Errorf("Supported: %s", sipwire.Header(bob.incoming.req, "Supported"))
		}
		want := func(forks, heard string) {
			t.Helper()
			pass(time.Millisecond)
			if got := showForks(c.Forks()); got != forks {
				t.Errorf("forks %q, want %q", got, forks)
			}
			if made[0].selected != heard {
				t.Errorf("media hear %q", made[0].selected)
			}
		}
		bob.says(183, sdpBody)
		pass(time.Millisecond)
		carol.reliably(183, 1, sdpBody)
		dave.says(199, "") // of whom nobody has heard
		want("bob 183 m h, carol 183 m", "")
		bob.says(199, "", `Reason: SIP;cause=486;text="Busy Here"`)
		want("carol 183 m h", carol.local)
		if err := c.Listen(t.Context(), bob.local); !errors.Is(err, ErrFork) {
			t.Error(err)
		}
		// A reliable one is acknowledged first, in the dialog that it ends.
		carol.reliably(199, 2, "")
		want("", carol.local)
		if c.State() != CallRinging || len(made[0].open) != 0 {
			t.Errorf("%v, legs %q", c.State(), made[0].open)
		}
		dave.says(180, "")
		want("dave 180", carol.local)
		dave.answer(200)
		s.request("ACK")
		if err := c.Answered(t.Context()); err != nil {
			t.Error(err)
		}
		// What was said to be over answers all the same: it is a 2xx like another.
		bob.answer(200)
		s.request("ACK")
		bob.bye()
		go c.Hangup(t.Context())
		dave.bye()
	})
}

// RFC 3261 §12.2 and §13.2.2.4, RFC 3311 §5: the remote target is the Contact that
// came last, of each dialog its own; the route set is that of the 2xx.
func TestForkTargets_RFC3261_12_2(t *testing.T) {
	onStage(t, "targets", nil, func(t *testing.T, s *stage) {
		c, bob := s.begins()
		carol := bob.fork("carol")
		sent := func(req *sipgo.Request, where string, routes ...string) {
			t.Helper()
			if got := sipwire.FormatURI(&req.Recipient); got != where {
				t.Errorf("%s to %s, want %s", req.Method, got, where)
			}
			if got := slices.Collect(sipwire.Values(req, "Route")); !slices.Equal(got, routes) {
				t.Errorf("%s by %q, want %q", req.Method, got, routes)
			}
		}
		const p1, p2 = "<sip:p1.example.com;lr>", "<sip:p2.example.com;lr>"
		sent(bob.reliably(183, 1, sdpBody, "Contact: <sip:bob@10.0.1.1>", "Record-Route: "+p2+", "+p1), "sip:bob@10.0.1.1", p1, p2)
		sent(carol.reliably(183, 1, sdpBody, "Contact: <sip:carol@10.0.2.1>"), "sip:carol@10.0.2.1")
		// A later provisional response, and an UPDATE of his.
		sent(bob.reliably(180, 2, "", "Contact: <sip:bob@10.0.1.2>"), "sip:bob@10.0.1.2", p1, p2)
		bob.say("UPDATE", "Contact: <sip:bob@10.0.1.3>")
		s.response(200)
		sent(bob.reliably(180, 3, ""), "sip:bob@10.0.0.2:5070", p1, p2)
		bob.answer(200, "Contact: <sip:bob@10.0.1.4>", "Record-Route: "+p2)
		sent(s.request("ACK").req, "sip:bob@10.0.1.4", p2)
		carol.answer(200, "Contact: <sip:carol@10.0.2.2>", "Record-Route: "+p1)
		sent(s.request("ACK").req, "sip:carol@10.0.2.2", p1)
		bye := s.request("BYE")
		sent(bye.req, "sip:carol@10.0.2.2", p1)
		bye.reply(200)
		if err := c.Answered(t.Context()); err != nil {
			t.Error(err)
		}
		// A re-INVITE of his, and the 200 to one of ours, move it again; a route
		// set never changes (RFC 3261 §12.2).
		bob.say("INVITE", "Contact: <sip:bob@10.0.1.5>", "Record-Route: "+p1, "Content-Type: application/sdp", "", sdpBody)
		bob.taken()
		go c.Renegotiate(t.Context(), offeranswer.Options{})
		again := s.request("INVITE")
		sent(again.req, "sip:bob@10.0.1.5", p2)
		again.reply(200, "Contact: <sip:bob@10.0.1.6>", "Record-Route: "+p1, sdpBody)
		sent(s.request("ACK").req, "sip:bob@10.0.1.6", p2)
		go c.Hangup(t.Context())
		bye = s.request("BYE")
		sent(bye.req, "sip:bob@10.0.1.6", p2)
		bye.reply(200)
	})
}
