package sip

import (
	"cmp"
	"context"
	"errors"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	sipgo "github.com/emiago/sipgo/sip"

	"github.com/hoorn-phone/hoorn/internal/sipwire"
)

// phoned runs a test with a phone of one account, over TLS and over UDP.
func phoned(t *testing.T, name string, cfg *PhoneConfig, fn func(t *testing.T, p *Phone, ua *UA, c *conn)) {
	bubbles(t, name, func(t *testing.T, s *server) {
		ua, c := registered(t, s, s.config(), 3600)
		cfg := *cfg
		cfg.UAs = []*UA{ua}
		p, err := NewPhone(&cfg)
		if err != nil {
			t.Fatal(err)
		}
		defer p.Close()
		fn(t, p, ua, c)
	})
}

// rings lets somebody call the phone.
func (p *Phone) rings(t *testing.T, c *conn, callID string, lines ...string) *Call {
	t.Helper()
	c.ask("INVITE", callID, callID, 1, "", sdpBody, lines...)
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	in, err := p.Accept(ctx)
	if err != nil {
		t.Fatal(err)
	}
	c.response(180)
	return in
}

// taken acknowledges the 200 of an INVITE that the phone answers.
func (c *conn) taken(t *testing.T, in *Call, callID string) {
	t.Helper()
	ok := c.response(200)
	c.ask("ACK", callID, callID+"ack", 1, sipwire.ToTag(ok), "")
	if err := in.Answered(t.Context()); err != nil {
		t.Fatal(err)
	}
}

// talks brings up an answered call.
func (p *Phone) talks(t *testing.T, c *conn, callID string) *Call {
	t.Helper()
	in := p.rings(t, c, callID)
	result := make(chan error, 1)
	go func() { result <- p.Answer(t.Context(), in, nil) }()
	c.taken(t, in, callID)
	if err := <-result; err != nil {
		t.Fatal(err)
	}
	return in
}

// renewed answers the re-INVITE of a call.
func (c *conn) renewed(t *testing.T, callID string) {
	t.Helper()
	c.replySDP(c.reinvited(t, callID), 200)
	c.request("ACK")
}

func (c *conn) reinvited(t *testing.T, callID string) *sipgo.Request {
	t.Helper()
	req := c.request("INVITE")
	if id := string(*req.CallID()); id != callID || sipwire.ToTag(req) == "" {
		t.Fatalf("INVITE of %s, want a re-INVITE of %s", id, callID)
	}
	return req
}

func TestCallWaiting(t *testing.T) {
	phoned(t, "the second rings while the first talks, and is answered; swap", &PhoneConfig{}, func(t *testing.T, p *Phone, _ *UA, c *conn) {
		one := p.talks(t, c, "one")
		two := p.rings(t, c, "two")
		if p.Active() != one || !slices.Equal(p.Calls(), []*Call{one, two}) {
			t.Errorf("active %p of %v", p.Active(), p.Calls())
		}
		result := make(chan error, 1)
		go func() { result <- p.Answer(t.Context(), two, nil) }()
		c.renewed(t, "one") // held before the other is answered
		c.taken(t, two, "two")
		if err := <-result; err != nil {
			t.Fatal(err)
		}
		if p.Active() != two || !one.Held().Local || two.Held().Local {
			t.Errorf("active %p, held %v %v", p.Active(), one.Held(), two.Held())
		}
		go func() { result <- p.Activate(t.Context(), one) }()
		c.renewed(t, "two")
		c.renewed(t, "one")
		if err := <-result; err != nil || p.Active() != one || one.Held().Local || !two.Held().Local {
			t.Errorf("%v, active %p, held %v %v", err, p.Active(), one.Held(), two.Held())
		}
		if err := p.Activate(t.Context(), one); err != nil { // nothing to do
			t.Error(err)
		}
		// The active one ends: the other waits for the user.
		c.ask("BYE", "one", "bye", 2, one.m.LocalTag(), "")
		c.response(200)
		c.quiet(time.Minute)
		if p.Active() != nil || !slices.Equal(p.Calls(), []*Call{two}) {
			t.Errorf("active %p of %v", p.Active(), p.Calls())
		}
		if err := p.Activate(t.Context(), one); !errors.Is(err, ErrEnded) {
			t.Error(err)
		}
		if len(p.Missed()) != 0 {
			t.Errorf("missed %v", p.Missed())
		}
	})
	phoned(t, "the other is kept as it is", &PhoneConfig{KeepOthers: true}, func(t *testing.T, p *Phone, _ *UA, c *conn) {
		one := p.talks(t, c, "one")
		two := p.talks(t, c, "two") // without a re-INVITE
		if p.Active() != two || one.Held().Local {
			t.Errorf("active %p, %v", p.Active(), one.Held())
		}
	})
	phoned(t, "hold is refused: the second rings on", &PhoneConfig{}, func(t *testing.T, p *Phone, _ *UA, c *conn) {
		one := p.talks(t, c, "one")
		two := p.rings(t, c, "two")
		result := make(chan error, 1)
		go func() { result <- p.Answer(t.Context(), two, nil) }()
		c.reply(c.reinvited(t, "one"), 488)
		c.request("ACK")
		var se *StatusError
		if err := <-result; !errors.As(err, &se) || se.Code != 488 {
			t.Error(err)
		}
		if p.Active() != one || two.State() != CallRinging {
			t.Errorf("active %p, %v", p.Active(), two.State())
		}
	})
	phoned(t, "the second gives up while the first is put on hold, which is taken back", &PhoneConfig{}, func(t *testing.T, p *Phone, _ *UA, c *conn) {
		one := p.talks(t, c, "one")
		two := p.rings(t, c, "two")
		result := make(chan error, 1)
		go func() { result <- p.Answer(t.Context(), two, nil) }()
		hold := c.reinvited(t, "one")
		c.ask("CANCEL", "two", "two", 1, "", "")
		c.response(200)
		c.response(487)
		c.replySDP(hold, 200)
		c.request("ACK")
		if err := <-result; err == nil {
			t.Error("answered a call that is over")
		}
		c.renewed(t, "one")
		synctest.Wait()
		if p.Active() != one || one.Held().Local {
			t.Errorf("active %p, %v", p.Active(), one.Held())
		}
		if m := p.Missed(); len(m) != 1 || m[0].Remote.Name != "Bob" {
			t.Errorf("missed %v", m)
		}
	})
	phoned(t, "dialled while another is active: held, and taken back when it fails", &PhoneConfig{}, func(t *testing.T, p *Phone, ua *UA, c *conn) {
		one := p.talks(t, c, "one")
		result := make(chan error, 1)
		go func() { _, err := p.Dial(t.Context(), ua, "carol", nil); result <- err }()
		c.renewed(t, "one")
		c.reply(c.request("INVITE"), 486)
		c.request("ACK")
		var se *StatusError
		if err := <-result; !errors.As(err, &se) || se.Code != 486 {
			t.Error(err)
		}
		c.renewed(t, "one")
		synctest.Wait()
		if p.Active() != one {
			t.Errorf("active %p", p.Active())
		}
		go func() { _, err := p.Dial(t.Context(), ua, "carol", nil); result <- err }()
		c.renewed(t, "one")
		c.replySDP(c.request("INVITE"), 200)
		c.request("ACK")
		if err := <-result; err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		if a := p.Active(); a == nil || a.Remote().URI != "sip:carol@example.com" || !one.Held().Local {
			t.Errorf("active %p", a)
		}
		if _, err := p.Start(t.Context(), ua, "sip:", nil); err == nil {
			t.Error("dialled nobody")
		}
	})
	phoned(t, "a call of ours that is answered when the user has taken another is put on hold", &PhoneConfig{}, func(t *testing.T, p *Phone, ua *UA, c *conn) {
		out, err := p.Start(t.Context(), ua, "carol", nil)
		if err != nil {
			t.Fatal(err)
		}
		invite := c.request("INVITE")
		c.reply(invite, 180)
		in := p.talks(t, c, "in")
		c.replySDP(invite, 200)
		c.request("ACK")
		c.renewed(t, string(*invite.CallID()))
		synctest.Wait()
		if p.Active() != in || !out.Held().Local {
			t.Errorf("active %p, %v", p.Active(), out.Held())
		}
	})
}

// A call that was made without the phone becomes one of its.
func TestAdopt(t *testing.T) {
	phoned(t, "it becomes the active one, and can be swapped", &PhoneConfig{MaxCalls: 1}, func(t *testing.T, p *Phone, ua *UA, c *conn) {
		one := p.talks(t, c, "one")
		started := make(chan *Call, 1)
		go func() {
			out, err := ua.Dial(t.Context(), "bob", nil)
			if err != nil {
				t.Error(err)
			}
			started <- out
		}()
		invite := c.request("INVITE")
		c.replySDP(invite, 200)
		c.request("ACK")
		two := <-started
		if err := p.Activate(t.Context(), two); !errors.Is(err, ErrForeignCall) {
			t.Error(err)
		}
		result := make(chan error, 1)
		go func() { result <- p.Adopt(t.Context(), two) }()
		c.reply(c.reinvited(t, "one"), 488) // hold is refused: as if nothing had been
		c.request("ACK")
		var status *StatusError
		if err := <-result; !errors.As(err, &status) || p.Active() != one || len(p.Calls()) != 1 {
			t.Errorf("%v, active %p of %v", err, p.Active(), p.Calls())
		}
		go func() { result <- p.Adopt(t.Context(), two) }()
		c.renewed(t, "one")
		if err := <-result; err != nil || p.Active() != two || !one.Held().Local || !slices.Equal(p.Calls(), []*Call{one, two}) {
			t.Errorf("%v, active %p of %v", err, p.Active(), p.Calls())
		}
		if err := p.Adopt(t.Context(), two); err != nil { // nothing to do
			t.Error(err)
		}
		go func() { result <- p.Activate(t.Context(), one) }()
		c.renewed(t, string(*invite.CallID()))
		c.renewed(t, "one")
		if err := <-result; err != nil || p.Active() != one || !two.Held().Local {
			t.Errorf("%v, active %p", err, p.Active())
		}
		// Its end is noticed as that of any other.
		go func() { result <- two.Hangup(t.Context()) }()
		c.reply(c.request("BYE"), 200)
		if err := <-result; err != nil {
			t.Error(err)
		}
		synctest.Wait()
		if err := p.Adopt(t.Context(), two); !errors.Is(err, ErrEnded) || !slices.Equal(p.Calls(), []*Call{one}) {
			t.Errorf("%v, %v", err, p.Calls())
		}
		p.Close()
		if err := p.Adopt(t.Context(), newCall(ua, Outgoing)); !errors.Is(err, ErrClosed) {
			t.Error(err)
		}
		if err := p.Adopt(t.Context(), newCall(nil, Outgoing)); !errors.Is(err, ErrForeignCall) {
			t.Error(err)
		}
	})
}

func TestPhoneLimits(t *testing.T) {
	phoned(t, "486 beyond the limit", &PhoneConfig{MaxCalls: 2}, func(t *testing.T, p *Phone, ua *UA, c *conn) {
		p.talks(t, c, "one")
		two := p.rings(t, c, "two")
		c.ask("INVITE", "three", "three", 1, "", sdpBody)
		c.response(486)
		if _, err := p.Start(t.Context(), ua, "carol", nil); !errors.Is(err, ErrTooManyCalls) {
			t.Error(err)
		}
		if err := p.SetForward("", "voicemail", "", 0); err != nil {
			t.Fatal(err)
		}
		c.ask("INVITE", "four", "four", 1, "", sdpBody)
		if r := c.response(302); r.Contact().Address.String() != "sip:voicemail@example.com" ||
			sipwire.Header(r, "Diversion") != "<sip:alice@example.com>;reason=user-busy;counter=1" {
			t.Errorf("%v", r)
		}
		_ = two.Reject(t.Context(), 603)
		c.response(603)
		p.rings(t, c, "five")
	})
	for _, status := range []int{0, 480} {
		phoned(t, "do not disturb", &PhoneConfig{DisturbedStatus: status}, func(t *testing.T, p *Phone, _ *UA, c *conn) {
			p.SetDoNotDisturb(true)
			c.ask("INVITE", "one", "one", 1, "", sdpBody)
			c.response(cmp.Or(status, 486))
			if !p.DoNotDisturb() || len(p.Missed()) != 0 || len(p.Calls()) != 0 {
				t.Errorf("missed %v, calls %v", p.Missed(), p.Calls())
			}
			p.SetDoNotDisturb(false)
			p.rings(t, c, "two")
		})
	}
	phoned(t, "states and strangers", &PhoneConfig{}, func(t *testing.T, p *Phone, ua *UA, c *conn) {
		one := p.rings(t, c, "one")
		if err := p.Activate(t.Context(), one); !errors.Is(err, ErrState) {
			t.Error(err)
		}
		other := newCall(ua, Incoming)
		if err := p.Answer(t.Context(), other, nil); !errors.Is(err, ErrForeignCall) {
			t.Error(err)
		}
		if _, err := p.Start(t.Context(), nil, "bob", nil); !errors.Is(err, ErrForeignCall) {
			t.Error(err)
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if _, err := p.Accept(ctx); !errors.Is(err, context.DeadlineExceeded) {
			t.Error(err)
		}
	})
	for _, cfg := range []*PhoneConfig{nil, {}, {UAs: make([]*UA, 1), DisturbedStatus: 404}} {
		if _, err := NewPhone(cfg); err == nil {
			t.Errorf("made of %+v", cfg)
		}
	}
}

func TestForward(t *testing.T) {
	phoned(t, "always (RFC 5806: Diversion in a 302)", &PhoneConfig{}, func(t *testing.T, p *Phone, _ *UA, c *conn) {
		if err := p.SetForward("sip:bob@example.net", "", "", 0); err != nil {
			t.Fatal(err)
		}
		c.ask("INVITE", "one", "one", 1, "", sdpBody, "Diversion:<sip:carol@example.com>;reason=user-busy")
		r := c.response(302)
		if got := slices.Collect(sipwire.Values(r, "Diversion")); r.Contact().Value() != "<sip:bob@example.net>" ||
			!slices.Equal(got, []string{"<sip:alice@example.com>;reason=unconditional;counter=1", "<sip:carol@example.com>;reason=user-busy"}) {
			t.Errorf("%v, %v", r.Contact().Value(), got)
		}
		// RFC 7044: the entry that was mapped to somebody else is named.
		c.ask("INVITE", "two", "two", 1, "", sdpBody, "Supported:histinfo", "History-Info:<sip:alice@example.com>;index=1")
		r = c.response(302)
		if got := sipwire.Header(r, "History-Info"); r.Contact().Value() != "<sip:bob@example.net>;mp=1" || got != "<sip:alice@example.com>;index=1" {
			t.Errorf("%v, %s", r.Contact().Value(), got)
		}
		// What we have sent on before rings.
		p.rings(t, c, "three", "Diversion:<sip:bob@example.net>;reason=unconditional, <sip:alice@EXAMPLE.com>;reason=unconditional")
		if len(p.Missed()) != 0 {
			t.Errorf("missed %v", p.Missed())
		}
		if err := p.SetForward("", "a b", "", 0); err == nil {
			t.Error("a bad target was taken")
		}
		if err := p.SetForward("alice", "", "", 0); err != nil {
			t.Fatal(err)
		}
		c.ask("INVITE", "four", "four", 1, "", sdpBody)
		c.response(486) // to ourselves leads nowhere
	})
	phoned(t, "no answer, after exactly as long as wanted", &PhoneConfig{}, func(t *testing.T, p *Phone, _ *UA, c *conn) {
		for _, after := range []time.Duration{0, 7 * time.Second} {
			if err := p.SetForward("", "", "voicemail", after); err != nil {
				t.Fatal(err)
			}
			in := p.rings(t, c, "x"+after.String())
			start := time.Now()
			if r := c.response(302); sipwire.Header(r, "Diversion") != "<sip:alice@example.com>;reason=no-answer;counter=1" {
				t.Errorf("%v", r)
			}
			if d := time.Since(start); d != max(after, 7*time.Second) && d != defaultForwardAfter {
				t.Errorf("after %v", d)
			}
			ended(t, in, CauseTransferred)
		}
		in := p.talks(t, c, "taken")
		c.quiet(time.Minute)
		if in.State() != CallEstablished || len(p.Missed()) != 0 {
			t.Errorf("%v, missed %v", in.State(), p.Missed())
		}
	})
}

func TestMissed(t *testing.T) {
	phoned(t, "those that nobody took, and no others", &PhoneConfig{MissedKept: 2}, func(t *testing.T, p *Phone, ua *UA, c *conn) {
		for i, tt := range []struct {
			reason string
			missed int
		}{{"", 1}, {"Reason: SIP;cause=200", 1}, {"Reason: SIP;cause=603", 1}, {"", 2}, {"", 2}} {
			id := "m" + itoa(i)
			p.rings(t, c, id)
			<-time.After(3 * time.Second) // virtual
			var lines []string
			if tt.reason != "" {
				lines = []string{tt.reason}
			}
			c.ask("CANCEL", id, id, 1, "", "", lines...)
			c.response(200)
			c.response(487)
			synctest.Wait()
			m := p.Missed()
			if len(m) != tt.missed || m[0].UA != ua || m[0].Rang != 3*time.Second || m[0].Remote.URI != "sip:bob@example.com;user=phone" {
				t.Errorf("%d: %+v", i, m)
			}
		}
		if m := p.Missed(); !m[0].Time.After(m[1].Time) {
			t.Error("the latest is not first")
		}
		p.ClearMissed()
		if len(p.Missed()) != 0 {
			t.Error("not forgotten")
		}
	})
	phoned(t, "one that was given up before Accept is only missed", &PhoneConfig{}, func(t *testing.T, p *Phone, _ *UA, c *conn) {
		c.ask("INVITE", "one", "one", 1, "", sdpBody)
		c.response(180)
		c.ask("CANCEL", "one", "one", 1, "", "")
		c.response(200)
		c.response(487)
		synctest.Wait() // over a moment after that
		if two := p.rings(t, c, "two"); two.ID() != "two" {
			t.Errorf("accepted %s", two.ID())
		}
		synctest.Wait()
		if len(p.Missed()) != 1 {
			t.Errorf("missed %v", p.Missed())
		}
	})
}

// Auto-answer is asked of the app where the caller asks for it, and nowhere else.
func TestPhoneAutoAnswer(t *testing.T) {
	asked := 0
	allowed := &PhoneConfig{AutoAnswer: func(c *Call) bool { asked++; return c.ID() != "no" }}
	phoned(t, "for whom the user allows", allowed, func(t *testing.T, p *Phone, _ *UA, c *conn) {
		asked = 0
		plain := p.rings(t, c, "plain")
		c.quiet(59 * time.Second)
		_ = plain.Reject(t.Context(), 486)
		c.response(486)
		no := p.rings(t, c, "no", "Answer-Mode: Auto")
		c.quiet(59 * time.Second)
		_ = no.Reject(t.Context(), 486)
		c.response(486)
		yes := p.rings(t, c, "yes", "Call-Info: <sip:as.example.com>;answer-after=2")
		start := time.Now()
		c.taken(t, yes, "yes")
		if d := time.Since(start); d != 2*time.Second {
			t.Errorf("after %v", d)
		}
		synctest.Wait()
		if asked != 2 || p.Active() != yes {
			t.Errorf("asked %d times, active %p", asked, p.Active())
		}
		p.rings(t, c, "second", "Call-Info: <sip:as.example.com>;answer-after=0")
		c.quiet(59 * time.Second) // not in the middle of a call
	})
}

func TestPhoneClose(t *testing.T) {
	bubbles(t, "what rings goes on elsewhere, what talks goes on", func(t *testing.T, s *server) {
		ua, c := registered(t, s, s.config(), 3600)
		p, err := NewPhone(&PhoneConfig{UAs: []*UA{ua}})
		if err != nil {
			t.Fatal(err)
		}
		one := p.talks(t, c, "one")
		two := p.rings(t, c, "two")
		waits := make(chan error, 1)
		go func() { _, err := p.Accept(t.Context()); waits <- err }()
		synctest.Wait()
		p.Close()
		p.Close()
		c.response(480)
		if err := <-waits; !errors.Is(err, ErrClosed) {
			t.Error(err)
		}
		if one.State() != CallEstablished || two.State() != CallEnded {
			t.Errorf("%v, %v", one.State(), two.State())
		}
		for name, err := range map[string]error{
			"Answer": p.Answer(t.Context(), one, nil), "Activate": p.Activate(t.Context(), one),
			"Start": func() error { _, err := p.Start(t.Context(), ua, "bob", nil); return err }(),
		} {
			if !errors.Is(err, ErrClosed) {
				t.Errorf("%s: %v", name, err)
			}
		}
		// The account is the app's again.
		c.ask("INVITE", "three", "three", 1, "", sdpBody)
		if in, err := ua.Accept(t.Context()); err != nil || in.ID() != "three" {
			t.Errorf("%v, %v", in, err)
		}
	})
	bubbles(t, "several accounts, one of which is closed", func(t *testing.T, s *server) {
		ua, c := registered(t, s, s.config(), 3600)
		cfg := s.config()
		cfg.Account.AOR = "sip:carol@example.com"
		second, d := registered(t, s, cfg, 3600)
		p, err := NewPhone(&PhoneConfig{UAs: []*UA{ua, second}})
		if err != nil {
			t.Fatal(err)
		}
		defer p.Close()
		one := p.talks(t, c, "one")
		two := p.rings(t, d, "two")
		result := make(chan error, 1)
		go func() { result <- p.Answer(t.Context(), two, nil) }()
		c.renewed(t, "one")
		d.taken(t, two, "two")
		if err := <-result; err != nil || p.Active() != two || !one.Held().Local {
			t.Errorf("%v, active %p", err, p.Active())
		}
		go func() {
			d.reply(d.request("BYE"), 200)
			d.granted(d.request("REGISTER"), 0)
		}()
		second.Close()
		synctest.Wait()
		if p.Active() != nil || !slices.Equal(p.Calls(), []*Call{one}) {
			t.Errorf("active %p of %v", p.Active(), p.Calls())
		}
		p.rings(t, c, "three")
	})
}
