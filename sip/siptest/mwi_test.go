package siptest_test

import (
	"testing"
	"time"

	sipgo "github.com/emiago/sipgo/sip"

	"github.com/hoorn-phone/hoorn/internal/sipwire"
	"github.com/hoorn-phone/hoorn/sip"
	"github.com/hoorn-phone/hoorn/sip/mwi"
	"github.com/hoorn-phone/hoorn/sip/siptest"
)

// summary checks the NOTIFY of a message summary.
func summary(t *testing.T, req *sipgo.Request, state string, fresh, old int) {
	t.Helper()
	if got := sipwire.Header(req, "Subscription-State"); got != state {
		t.Errorf("Subscription-State %q, want %q", got, state)
	}
	if got := sipwire.Header(req, "Event"); got != "message-summary" {
		t.Errorf("Event %q", got)
	}
	if got := sipwire.Header(req, "Content-Type"); got != mwi.ContentType {
		t.Errorf("Content-Type %q", got)
	}
	s, err := mwi.Parse(req.Body())
	if err != nil {
		t.Fatalf("%v:\n%s", err, req.Body())
	}
	if c := s.Count(mwi.Voice); c.New != fresh || c.Old != old || s.Waiting != (fresh > 0) || s.Account != "sip:*86@pbx.example" {
		t.Errorf("%+v, want %d/%d", s, fresh, old)
	}
}

// A subscriber is told at once (RFC 3842 §3.8), and of every change, but not
// more often than once a second (RFC 3842 §3.11).
func TestMessageSummary(t *testing.T) {
	both(t, withVoicemail(siptest.Voicemail{}), func(t *testing.T, l *lab, on sip.Transport) {
		bob := l.device("bob", on)
		s := bob.subscribe("bob", "message-summary", "Expires: 3600", "Accept: "+mwi.ContentType)
		s.subscribed()
		told := func(state string, fresh, old int) {
			t.Helper()
			req := s.expect("NOTIFY")
			s.reply(req, 200, "")
			summary(t, req, state, fresh, old)
		}
		told("active;expires=3600", 0, 0)
		<-time.After(2 * time.Second)
		if err := l.Deposit("bob", siptest.VoiceMessage{PCM: make([]int16, 16000)}); err != nil {
			t.Fatal(err)
		}
		told("active;expires=3598", 1, 0)
		began := time.Now()
		for range 2 {
			if err := l.Deposit("bob", siptest.VoiceMessage{PCM: make([]int16, 16000)}); err != nil {
				t.Fatal(err)
			}
		}
		told("active;expires=3597", 3, 0)
		if d := time.Since(began); d != time.Second {
			t.Errorf("two changes were told after %v, want 1 s", d)
		}
		<-time.After(time.Second)
		if err := l.KeepMessage("bob", 1); err != nil {
			t.Fatal(err)
		}
		told("active;expires=3596", 2, 1)
		<-time.After(time.Second)
		for id := 1; id <= 3; id++ {
			if err := l.DeleteMessage("bob", id); err != nil {
				t.Fatal(err)
			}
		}
		for {
			req := s.expect("NOTIFY")
			s.reply(req, 200, "")
			if m, err := mwi.Parse(req.Body()); err != nil || m.Count(mwi.Voice) == (mwi.Count{Class: mwi.Voice, UrgentNew: -1, UrgentOld: -1}) {
				break
			}
		}
		s.request("SUBSCRIBE", "", "Event: message-summary", "Expires: 0")
		s.subscribed()
		told("terminated;reason=timeout", 0, 0)
		l.nothingLeft(bob)
	})
}

// Messages are their user's alone (RFC 3842 §3.7), and not everybody has a
// mailbox.
func TestMessageSummaryRefused(t *testing.T) {
	mod := func(c *siptest.Config) {
		withVoicemail(siptest.Voicemail{})(c)
		c.Users[0].Group, c.Users[1].Group = "sales", "sales"
	}
	both(t, mod, func(t *testing.T, l *lab, on sip.Transport) {
		alice, bob := l.device("alice", on), l.device("bob", on)
		alice.subscribe("bob", "message-summary").response("SUBSCRIBE", 403)
		alice.subscribe("alice", "message-summary").response("SUBSCRIBE", 404)
		bob.subscribe("bob", "message-summary", "Accept: text/plain").response("SUBSCRIBE", 406)
		l.nothingLeft(alice, bob)
	})
}

// A lab that tells devices without being asked does so when they register and
// when something changes, whatever they say to it.
func TestUnsolicitedMWI(t *testing.T) {
	mod := func(c *siptest.Config) {
		withVoicemail(siptest.Voicemail{})(c)
		c.Events.UnsolicitedMWI = true
	}
	both(t, mod, func(t *testing.T, l *lab, on sip.Transport) {
		if err := l.Deposit("bob", siptest.VoiceMessage{PCM: make([]int16, 16000)}); err != nil {
			t.Fatal(err)
		}
		alice := l.device("alice", on)
		var bobs []*device
		for i, status := range []int{200, 481} {
			d := l.device("bob", on)
			bobs = append(bobs, d)
			g := d.incoming("NOTIFY")
			g.reply(g.invite, status, "")
			summary(t, g.invite, "terminated", 1, 0)
			if i > 0 {
				bobs[0].quiet() // it was registered before
			}
		}
		if err := l.DeleteMessage("bob", 1); err != nil {
			t.Fatal(err)
		}
		for i, status := range []int{481, 200} {
			g := bobs[i].incoming("NOTIFY")
			g.reply(g.invite, status, "")
			summary(t, g.invite, "terminated", 0, 0)
		}
		l.nothingLeft(alice, bobs[0], bobs[1])
	})
}
