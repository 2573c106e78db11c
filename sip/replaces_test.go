package sip

import (
	"bytes"
	"context"
	"errors"
	"net/netip"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hoorn-phone/hoorn/internal/sipwire"
	"github.com/hoorn-phone/hoorn/sip/offeranswer"
)

// The dialog of an established call is replaced: RFC 3891 §1, and the last
// part of the flow in §7.1. "It accepts the new INVITE by sending a 200-class
// response, and shuts down the replaced dialog by sending a BYE" (§3).
func TestReplacesConfirmed_RFC3891_3(t *testing.T) {
	onStage(t, "confirmed", nil, func(t *testing.T, s *stage) {
		bob, carol := s.actor("bob"), s.actor("carol")
		c := bob.calls()
		carol.invite("Require: replaces", "Replaces: "+bob.replaces())
		carol.taken()
		taken := time.Now()
		// So that he knows that it was not alice who hung up (RFC 3326 §2).
		if got := sipwire.Header(bob.bye(), "Reason"); got != `SIP;cause=200;text="Call completed elsewhere"` {
			t.Errorf("Reason %q", got)
		}
		if took := time.Since(taken); took != breakAfter {
			t.Errorf("the former dialog was left after %v", took)
		}
		if c.State() != CallEstablished || c.Remote().URI != "sip:carol@example.com" || c.ID() != bob.id || c.Direction() != Incoming {
			t.Errorf("%v with %v", c.State(), c.Remote())
		}
		if d := c.Dialog(); d != (Dialog{carol.id, carol.remote, carol.local}) {
			t.Errorf("%+v", d)
		}
		var states []CallState
		moved := false
		for _, e := range c.log.events {
			moved = moved || e.Kind == PartyChanged
			if e.Kind == StateChanged {
				states = append(states, e.State)
			}
		}
		if len(states) != 3 || !moved { // incoming, answering, established: and not again
			t.Errorf("%v, party changed: %v", states, moved)
		}
		// Once more, to a dialog that is over.
		dave := s.actor("dave")
		dave.invite("Replaces: " + bob.replaces())
		s.response(603)
		dave.say("ACK")
		// And on from the new one.
		erin := s.actor("erin")
		erin.invite("Replaces: " + carol.replaces())
		erin.taken()
		carol.bye()
		erin.say("BYE")
		s.response(200)
		if err := c.Wait(t.Context()); err != nil || c.End().By != Remote {
			t.Errorf("%+v", c.End())
		}
		frank := s.actor("frank")
		frank.invite("Replaces: " + erin.replaces())
		s.response(603)
		frank.say("ACK")
		pass(pastFor)
		grace := s.actor("grace")
		grace.invite("Replaces: " + bob.replaces())
		s.response(481)
	})
	onStage(t, "the former peer hangs up first", nil, func(t *testing.T, s *stage) {
		bob, carol := s.actor("bob"), s.actor("carol")
		c := bob.calls()
		carol.invite("Replaces: " + bob.replaces())
		carol.taken()
		bob.say("BYE")
		s.response(200)
		s.quiet(time.Minute)
		if c.State() != CallEstablished {
			t.Error(c.State())
		}
		go c.Hangup(t.Context())
		carol.bye()
		if err := c.Wait(t.Context()); err != nil || c.End().By != Local {
			t.Errorf("%+v", c.End())
		}
	})
	onStage(t, "the user hangs up in between", nil, func(t *testing.T, s *stage) {
		bob, carol := s.actor("bob"), s.actor("carol")
		c := bob.calls()
		carol.invite("Replaces: " + bob.replaces())
		carol.taken()
		synctest.Wait()
		go c.Hangup(t.Context())
		bob.bye()
		carol.bye()
		if err := c.Wait(t.Context()); err != nil {
			t.Error(err)
		}
		s.quiet(time.Minute)
		if n := s.kept(); n != 0 {
			t.Errorf("%d dialog sets are left", n)
		}
	})
	onStage(t, "no ACK: the call stays where it was", nil, func(t *testing.T, s *stage) {
		bob, carol := s.actor("bob"), s.actor("carol")
		c := bob.calls()
		carol.invite("Replaces: " + bob.replaces())
		carol.remote = sipwire.ToTag(s.response(200))
		carol.bye() // RFC 3261 §13.3.1.4, after 64*T1
		if c.State() != CallEstablished || c.Remote().URI != "sip:bob@example.com" {
			t.Errorf("%v with %v", c.State(), c.Remote())
		}
		if d := c.Dialog(); d.CallID != bob.id {
			t.Errorf("%+v", d)
		}
	})
	onStage(t, "the old dialog ends and the new one fails", nil, func(t *testing.T, s *stage) {
		bob, carol := s.actor("bob"), s.actor("carol")
		c := bob.calls()
		carol.invite("Replaces: " + bob.replaces())
		carol.remote = sipwire.ToTag(s.response(200))
		bob.say("BYE")
		s.response(200)
		if c.State() != CallEstablished {
			t.Error(c.State())
		}
		carol.bye()
		if err := c.Wait(t.Context()); !errors.Is(err, ErrNoAck) {
			t.Error(err)
		}
	})
	onStage(t, "an offer that cannot be taken leaves the dialog unchanged", nil, func(t *testing.T, s *stage) {
		bob, carol := s.actor("bob"), s.actor("carol")
		c := bob.calls()
		carol.say("INVITE", "Replaces: "+bob.replaces(), "Content-Type: application/sdp", "", "v=0", "m=", "")
		s.response(488)
		carol.say("ACK")
		carol.say("INVITE", "Replaces: "+bob.replaces(), "Content-Type: text/plain", "", "hello")
		s.response(415)
		carol.say("ACK")
		carol.invite("Replaces: "+bob.replaces(), "Accept: text/plain")
		s.response(406)
		carol.say("ACK")
		if c.State() != CallEstablished || c.Dialog().CallID != bob.id {
			t.Error(c.State())
		}
		s.quiet(time.Minute)
	})
}

// "If the Replaces header field matches an early dialog that was initiated by
// this UA, it accepts the new INVITE by sending a 200-class response, and shuts
// down the replaced dialog by sending a CANCEL" (RFC 3891 §3): call pickup as in §7.2.
func TestReplacesEarly_RFC3891_3(t *testing.T) {
	onStage(t, "of an INVITE of ours", nil, func(t *testing.T, s *stage) {
		bob, carol := s.actor("bob"), s.actor("carol")
		c, err := s.ua.Start(t.Context(), "bob", nil)
		if err != nil {
			t.Fatal(err)
		}
		bob.called()
		bob.answer(180)
		synctest.Wait()
		if d := c.Dialog(); d.RemoteTag != bob.local {
			t.Errorf("%+v", d)
		}
		carol.invite("Require: replaces", "Replaces: "+bob.replaces()+";early-only")
		carol.remote = sipwire.ToTag(s.response(200))
		cancel := s.request("CANCEL")
		if got := sipwire.Header(cancel.req, "Reason"); got != `SIP;cause=200;text="Call completed elsewhere"` {
			t.Errorf("Reason %q", got)
		}
		cancel.reply(200)
		bob.answer(487)
		s.request("ACK")
		if c.State() == CallEnded {
			t.Error("ended")
		}
		carol.say("ACK")
		if err := c.Answered(t.Context()); err != nil || c.Direction() != Outgoing || c.Remote().URI != "sip:carol@example.com" {
			t.Errorf("%v, %v with %v", err, c.Direction(), c.Remote())
		}
		s.quiet(time.Minute)
	})
	onStage(t, "the old INVITE is answered all the same", nil, func(t *testing.T, s *stage) {
		bob, carol := s.actor("bob"), s.actor("carol")
		c, err := s.ua.Start(t.Context(), "bob", nil)
		if err != nil {
			t.Fatal(err)
		}
		bob.called()
		bob.answer(180)
		synctest.Wait()
		carol.invite("Replaces: " + bob.replaces())
		carol.taken()
		s.request("CANCEL").reply(200)
		bob.answer(200)
		s.request("ACK")
		bob.bye()
		if c.State() != CallEstablished || c.Remote().URI != "sip:carol@example.com" {
			t.Errorf("%v with %v", c.State(), c.Remote())
		}
		s.quiet(time.Minute)
	})
	onStage(t, "that rings here: 481", nil, func(t *testing.T, s *stage) {
		bob, carol := s.actor("bob"), s.actor("carol")
		bob.invite()
		c, err := s.ua.Accept(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		c.Ring(t.Context())
		bob.remote = sipwire.ToTag(s.response(180))
		carol.invite("Replaces: " + bob.replaces())
		s.response(481)
		if c.State() != CallRinging {
			t.Error(c.State())
		}
	})
}

// What RFC 3891 §3 refuses.
func TestReplacesRefused_RFC3891_3(t *testing.T) {
	onStage(t, "the wrong dialog, several, early-only", nil, func(t *testing.T, s *stage) {
		bob := s.actor("bob")
		c := bob.calls()
		for _, tt := range []struct {
			status int
			lines  []string
		}{
			{481, []string{"Replaces: " + bob.id + ";to-tag=" + bob.remote + ";from-tag=other"}},
			{481, []string{"Replaces: " + bob.id + ";to-tag=other;from-tag=" + bob.local}},
			{481, []string{"Replaces: " + bob.id + ";to-tag=" + bob.local + ";from-tag=" + bob.remote}}, // the wrong way round
			{481, []string{"Replaces: other;to-tag=" + bob.remote + ";from-tag=" + bob.local}},
			{481, []string{"Replaces: " + bob.id + ";to-tag=" + bob.remote + ";from-tag=0"}},
			{486, []string{"Replaces: " + bob.replaces() + ";early-only"}},
			{400, []string{"Replaces: " + bob.replaces(), "Replaces: " + bob.replaces()}},
			{400, []string{"Replaces: " + bob.replaces(), "Join: " + bob.replaces()}},
			{400, []string{"Replaces: " + bob.id + ";to-tag=" + bob.remote}},
			{400, []string{"Replaces:"}},
		} {
			mallory := s.actor("mallory")
			mallory.invite(tt.lines...)
			s.response(tt.status)
			mallory.say("ACK")
		}
		mallory := s.actor("mallory")
		mallory.say("OPTIONS", "Replaces: "+bob.replaces())
		s.response(400)
		if c.State() != CallEstablished || c.Dialog().CallID != bob.id {
			t.Error(c.State())
		}
	})
	onStage(t, "two at once", nil, func(t *testing.T, s *stage) {
		bob, carol, dave := s.actor("bob"), s.actor("carol"), s.actor("dave")
		c := bob.calls()
		carol.invite("Replaces: " + bob.replaces())
		carol.remote = sipwire.ToTag(s.response(200))
		dave.invite("Replaces: " + bob.replaces())
		s.response(491)
		dave.say("ACK")
		carol.say("ACK")
		bob.bye()
		if c.Remote().URI != "sip:carol@example.com" {
			t.Error(c.Remote())
		}
	})
	var asked []ReplaceRequest
	policy := func(c *Config) {
		asked = nil
		c.Replace = func(r *ReplaceRequest) bool {
			asked = append(asked, *r)
			return r.ReferredBy.URI == "sip:bob@example.com"
		}
	}
	onStage(t, "by policy", policy, func(t *testing.T, s *stage) {
		bob, mallory, carol := s.actor("bob"), s.actor("mallory"), s.actor("carol")
		c := bob.calls()
		mallory.invite("Replaces: " + bob.replaces())
		s.response(403)
		mallory.say("ACK")
		carol.invite("Replaces: "+bob.replaces(), `Referred-By: "Bob" <sip:bob@example.com>`)
		carol.taken()
		bob.bye()
		if len(asked) != 2 || asked[0].Call != c || !asked[0].OwnFlow || asked[0].From.URI != "sip:mallory@example.com" || asked[0].Join || asked[1].ReferredBy.Name != "Bob" {
			t.Errorf("%+v", asked)
		}
	})
}

// Somebody who did not come through the account's server may not take a call
// over, although requests from anywhere are admitted.
func TestReplacesFromAStranger(t *testing.T) {
	for _, tr := range []Transport{UDP, TLS} {
		t.Run(string(tr), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				_, alice, bob := pair(t, tr, func(alice, bob *Config) { certified(t, alice, bob) })
				to := "sip:bob@10.0.0.2:5060;transport=" + string(tr)
				answered := make(chan *Call, 1)
				go func() {
					in, _ := bob.Accept(t.Context())
					in.Answer(t.Context(), nil)
					answered <- in
				}()
				out, err := alice.Dial(t.Context(), to, nil)
				if err != nil {
					t.Fatal(err)
				}
				in := <-answered
				d := out.Dialog()
				_, err = alice.Dial(t.Context(), to, &DialOptions{Replaces: &d})
				var se *StatusError
				if !errors.As(err, &se) || se.Code != 403 {
					t.Error(err)
				}
				if in.State() != CallEstablished || in.Dialog() != (Dialog{d.CallID, d.RemoteTag, d.LocalTag}) {
					t.Error(in.State())
				}
			})
		})
	}
}

// As caller: what is asked for is required, so that nobody takes the call for
// just another one (RFC 3891 §4, RFC 3911 §5).
func TestDialReplaces(t *testing.T) {
	onStage(t, "Replaces", nil, func(t *testing.T, s *stage) {
		d := &Dialog{CallID: "425928@bobster.example.org", LocalTag: "6472", RemoteTag: "7743"} // RFC 3891 §7.1
		bob := s.actor("bob")
		for _, tt := range []struct {
			o                       DialOptions
			require, name, replaces string
		}{
			{DialOptions{Replaces: d}, "replaces", "Replaces", "425928@bobster.example.org;to-tag=7743;from-tag=6472"},
			{DialOptions{Replaces: d, EarlyOnly: true}, "replaces", "Replaces", "425928@bobster.example.org;to-tag=7743;from-tag=6472;early-only"},
			{DialOptions{Join: d}, "join", "Join", "425928@bobster.example.org;to-tag=7743;from-tag=6472"},
		} {
			c, err := s.ua.Start(t.Context(), "bob", &tt.o)
			if err != nil {
				t.Fatal(err)
			}
			req := bob.called()
			if sipwire.Header(req, "Require") != tt.require || sipwire.Header(req, tt.name) != tt.replaces {
				t.Errorf("%v", req)
			}
			for _, tag := range []string{"replaces", "join"} {
				if !sipwire.HasToken(req, "Supported", tag) {
					t.Errorf("Supported lacks %s", tag)
				}
			}
			bob.answer(481)
			s.request("ACK")
			var se *StatusError
			if err := c.Answered(t.Context()); !errors.As(err, &se) || se.Code != 481 {
				t.Error(err)
			}
		}
		for _, o := range []*DialOptions{
			{Replaces: d, Join: d}, {Replaces: &Dialog{}}, {Join: &Dialog{CallID: "a;b", LocalTag: "1", RemoteTag: "2"}},
			{Headers: [][2]string{{"Replaces", "x"}}},
		} {
			if _, err := s.ua.Start(t.Context(), "bob", o); err == nil {
				t.Errorf("%+v was taken", o)
			}
		}
	})
}

// RFC 3911 §4: an INVITE with Join is a call of its own, which the app may mix.
func TestJoin_RFC3911_4(t *testing.T) {
	onStage(t, "accepted", nil, func(t *testing.T, s *stage) {
		bob, carol := s.actor("bob"), s.actor("carol")
		c := bob.calls()
		carol.invite("Require: join", "Join: "+bob.replaces())
		j, err := s.ua.Accept(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if j.Joins() != c || c.Joins() != nil {
			t.Error("does not join")
		}
		go j.Answer(t.Context(), nil)
		carol.taken()
		s.quiet(time.Minute) // no BYE to anybody
		if c.State() != CallEstablished || j.State() != CallEstablished {
			t.Errorf("%v, %v", c.State(), j.State())
		}
	})
	onStage(t, "refused", nil, func(t *testing.T, s *stage) {
		bob := s.actor("bob")
		c := bob.calls()
		for _, tt := range []struct {
			status int
			lines  []string
		}{
			{481, []string{"Join: other;to-tag=" + bob.remote + ";from-tag=" + bob.local}},
			{400, []string{"Join: " + bob.replaces(), "Join: " + bob.replaces()}},
			{400, []string{"Join: " + bob.id}},
		} {
			mallory := s.actor("mallory")
			mallory.invite(tt.lines...)
			s.response(tt.status)
			mallory.say("ACK")
		}
		bob.say("BYE")
		s.response(200)
		carol := s.actor("carol")
		carol.invite("Join: " + bob.replaces())
		s.response(603)
		if c.State() != CallEnded {
			t.Error(c.State())
		}
	})
	onStage(t, "by policy", func(c *Config) { c.Replace = func(r *ReplaceRequest) bool { return !r.Join } }, func(t *testing.T, s *stage) {
		bob, carol := s.actor("bob"), s.actor("carol")
		bob.calls()
		carol.invite("Join: " + bob.replaces())
		s.response(403)
	})
}

// The media of a call that moves: one and the same, with a leg for each dialog,
// new keys, and closed with the call.
func TestMovedMedia(t *testing.T) {
	var made []*watched
	cfg := func(c *Config) {
		made = nil
		c.NewMedia = func(ctx context.Context, env offeranswer.Env) (offeranswer.Media, error) {
			w := &watched{env: env}
			made = append(made, w)
			return w, nil
		}
	}
	onStage(t, "heard", cfg, func(t *testing.T, s *stage) {
		bob, carol := s.actor("bob"), s.actor("carol")
		c := bob.calls()
		m := made[0]
		if c.Media() != offeranswer.Media(m) {
			t.Errorf("%T", c.Media())
		}
		m.env.Notify(offeranswer.Event{Kind: offeranswer.Started, Leg: bob.local})
		carol.invite("Replaces: " + bob.replaces())
		carol.taken()
		pass(time.Millisecond)
		if len(made) != 1 || m.selected != "1 "+carol.local || !m.newKeys["1 "+carol.local] || m.newKeys[bob.local] {
			t.Errorf("%d media, selected %q, new keys %v", len(made), m.selected, m.newKeys)
		}
		pass(100 * time.Millisecond)
		m.env.Notify(offeranswer.Event{Kind: offeranswer.Started, Leg: bob.local}) // of the old one: says nothing
		s.quiet(100 * time.Millisecond)
		at := time.Now()
		m.env.Notify(offeranswer.Event{Kind: offeranswer.Started, Leg: "1 " + carol.local})
		bob.bye()
		if took := time.Since(at); took != 0 {
			t.Errorf("left %v after the first frame", took)
		}
		pass(time.Millisecond)
		if m.closed || len(m.open) != 1 {
			t.Errorf("closed %v, legs %v", m.closed, m.open)
		}
		m.env.Notify(offeranswer.Event{Kind: offeranswer.Failed})
		carol.bye()
		if err := c.Wait(t.Context()); !errors.Is(err, ErrMedia) {
			t.Error(err)
		}
		pass(time.Millisecond)
		if !m.closed || m.overlapped {
			t.Errorf("closed %v, two operations at once: %v", m.closed, m.overlapped)
		}
	})
}

// plainMedia have one stream of sound, whose directions are what the peer's last
// offer says.
type plainMedia struct{ noMedia }

func (*plainMedia) Leg(string) (offeranswer.Leg, error) {
	return &plainLeg{noLeg: noLeg{local: netip.MustParseAddr("10.0.0.1")}}, nil
}

type plainLeg struct {
	noLeg
	held bool
}

func (l *plainLeg) Answer(ctx context.Context, offer []byte, o offeranswer.Options) ([]byte, error) {
	l.held = bytes.Contains(offer, []byte("a=sendonly"))
	return l.noLeg.Answer(ctx, offer, o)
}

func (l *plainLeg) Streams() []offeranswer.Stream {
	s := offeranswer.Stream{Kind: offeranswer.Audio, Local: offeranswer.SendRecv, Remote: offeranswer.SendRecv}
	if l.held {
		s.Local, s.Remote = offeranswer.RecvOnly, offeranswer.SendOnly
	}
	return []offeranswer.Stream{s}
}

// A call that its peer holds is not on hold any more with him who takes his
// place: hold belongs to the streams of a dialog (RFC 3264 §8.4).
func TestMovedWhileHeld(t *testing.T) {
	cfg := func(c *Config) {
		c.NewMedia = func(context.Context, offeranswer.Env) (offeranswer.Media, error) { return new(plainMedia), nil }
	}
	onStage(t, "held", cfg, func(t *testing.T, s *stage) {
		bob, carol := s.actor("bob"), s.actor("carol")
		c := bob.calls()
		bob.say("INVITE", "Content-Type: application/sdp", "", sdpBody+"a=sendonly\r\n")
		bob.taken()
		pass(time.Millisecond)
		if c.Held() != (Hold{Remote: true}) {
			t.Errorf("held %+v", c.Held())
		}
		carol.invite("Replaces: " + bob.replaces())
		carol.taken()
		pass(time.Millisecond)
		var told []Hold
		for _, e := range c.log.events {
			if e.Kind == HoldChanged {
				told = append(told, e.Held)
			}
		}
		if want := []Hold{{Remote: true}, {}}; c.Held() != (Hold{}) || !slices.Equal(told, want) {
			t.Errorf("with carol held %+v, told of %+v; want %+v", c.Held(), told, want)
		}
		bob.bye()
		carol.say("BYE")
		s.response(200)
	})
}
