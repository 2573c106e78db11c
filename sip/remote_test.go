package sip

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/hoorn-phone/hoorn/internal/sipwire"
)

// A server answers, holds and resumes a call by NOTIFY in its dialog.
func TestRemoteControl(t *testing.T) {
	notify := func(c *conn, in *Call, cseq int, event string) {
		c.tell("NOTIFY", in.ID(), "n"+itoa(cseq), cseq, in.m.LocalTag(), "", "", "Event: "+event, "Subscription-State: active",
			"Contact: <sip:10.0.0.2:5061;transport=tls>")
	}
	bubbles(t, "talk answers, hold holds, talk resumes", func(t *testing.T, s *server) {
		ua, c := registered(t, s, s.config(), 3600)
		in := called(t, ua, c, "x")
		_ = in.Ring(t.Context())
		if r := c.response(180); !sipwire.HasToken(r, "Allow-Events", "talk") || !sipwire.HasToken(r, "Allow-Events", "hold") {
			t.Errorf("Allow-Events: %q", sipwire.Header(r, "Allow-Events"))
		}
		notify(c, in, 2, "talk")
		c.response(200)
		ok := c.response(200)
		if sipwire.Header(ok, "CSeq") != "1 INVITE" || !sipwire.HasToken(ok, "Allow-Events", "talk") {
			t.Errorf("%v", ok)
		}
		c.ask("ACK", "x", "ack", 1, sipwire.ToTag(ok), "")
		if err := in.Answered(t.Context()); err != nil {
			t.Fatal(err)
		}
		notify(c, in, 3, "hold")
		c.response(200)
		c.renewed(t, "x")
		synctest.Wait()
		if !in.Held().Local {
			t.Error("not on hold")
		}
		notify(c, in, 4, "talk")
		c.response(200)
		c.renewed(t, "x")
		synctest.Wait()
		if in.Held().Local {
			t.Error("still on hold")
		}
		notify(c, in, 5, "talk") // nothing to do
		c.response(200)
		c.quiet(time.Second)
		c.tell("NOTIFY", "none", "n9", 1, "", "", "", "Event: talk", "Subscription-State: active", "Contact: <sip:h>")
		c.response(481)
		if _, err := ua.Start(t.Context(), "bob", nil); err != nil {
			t.Fatal(err)
		}
		if r := c.request("INVITE"); !sipwire.HasToken(r, "Allow-Events", "hold") {
			t.Errorf("%v", r)
		}
	})
	bubbles(t, "only where the app wants it", func(t *testing.T, s *server) {
		cfg := s.config()
		var asked []Control
		cfg.RemoteControl = func(_ *Call, ctl Control) bool { asked = append(asked, ctl); return ctl == ControlHold }
		ua, c := registered(t, s, cfg, 3600)
		in := answered(t, ua, c)
		notify(c, in, 2, "talk")
		c.response(403)
		notify(c, in, 3, "hold")
		c.response(200)
		c.renewed(t, "in")
		if len(asked) != 2 || asked[0].String() != "talk" || asked[1].String() != "hold" {
			t.Errorf("%v", asked)
		}
	})
	phoned(t, "on a phone, talk makes room", &PhoneConfig{}, func(t *testing.T, p *Phone, _ *UA, c *conn) {
		one := p.talks(t, c, "one")
		two := p.rings(t, c, "two")
		notify(c, two, 2, "talk")
		c.response(200)
		c.renewed(t, "one")
		c.taken(t, two, "two")
		notify(c, one, 3, "talk")
		c.response(200)
		c.renewed(t, "two")
		c.renewed(t, "one")
		notify(c, one, 4, "hold")
		c.response(200)
		c.renewed(t, "one")
		synctest.Wait()
		if p.Active() != nil || !one.Held().Local || !two.Held().Local {
			t.Errorf("active %p, %v, %v", p.Active(), one.Held(), two.Held())
		}
	})
	// A direct account has no server that could ask on its user's behalf.
	bubbles(t, "not by whoever is called", func(t *testing.T, s *server) {
		cfg := s.config()
		cfg.AnySource = true
		ua, c := registered(t, s, cfg, 3600)
		in := answered(t, ua, c)
		ua.acct.direct = true
		notify(c, in, 2, "hold")
		c.response(403)
	})
}

func TestAutoAnswer(t *testing.T) {
	bubbles(t, "for whom the app allows, when the caller says", func(t *testing.T, s *server) {
		cfg := s.config()
		asked := 0
		cfg.AutoAnswer = func(c *Call) bool { asked++; return c.ID() != "no" }
		ua, c := registered(t, s, cfg, 3600)
		for _, tt := range []struct {
			id, line string
			after    time.Duration
		}{{"now", "Answer-Mode: Auto", 0}, {"later", "Call-Info: <sip:as.example.com>;answer-after=5", 5 * time.Second}} {
			c.ask("INVITE", tt.id, tt.id, 1, "", sdpBody, tt.line)
			start := time.Now()
			if tt.after > 0 {
				c.response(180)
			}
			ok := c.response(200)
			if d := time.Since(start); d != tt.after {
				t.Errorf("%s: after %v", tt.id, d)
			}
			c.ask("ACK", tt.id, tt.id+"ack", 1, sipwire.ToTag(ok), "")
			if in, err := ua.Accept(t.Context()); err != nil || in.Answered(t.Context()) != nil {
				t.Error(err)
			}
		}
		for _, tt := range [][2]string{{"no", "Answer-Mode: Auto"}, {"plain", "Answer-Mode: Manual"}} {
			c.ask("INVITE", tt[0], tt[0], 1, "", sdpBody, tt[1])
			c.response(100)
			c.quiet(50 * time.Second)
		}
		if asked != 3 {
			t.Errorf("asked %d times", asked)
		}
	})
}
