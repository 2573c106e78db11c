package conference

import (
	"errors"
	"fmt"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hoorn-phone/hoorn/internal/sipwire"
	"github.com/hoorn-phone/hoorn/sip"
)

func uris(all []Participant) (out []string) {
	for _, p := range all {
		uri := p.Party.URI
		if p.Muted {
			uri += " (muted)"
		}
		if p.Held.Remote {
			uri += " (holds)"
		}
		out = append(out, uri)
	}
	return out
}

func expect(t *testing.T, what string, conf *Conference, want ...string) {
	t.Helper()
	if got := uris(conf.Participants()); !slices.Equal(got, want) {
		t.Errorf("%s: %q, want %q", what, got, want)
	}
}

const bobURI, carolURI = "sip:bob@example.com", "sip:carol@example.com"

// RFC 4579 §5.4 and REFER with Replaces: the focus calls each peer in the place
// of our call with him.
func TestMergeOnNetwork_RFC4579_5_4(t *testing.T) {
	// merged brings bob and carol into a conference.
	merged := func(t *testing.T, s *server, cfg *Config, redirect bool) (*Conference, *dialog) {
		bob, toBob := s.call("bob")
		carol, toCarol := s.call("carol")
		result := s.merging(cfg, bob, carol)
		r := s.request("INVITE")
		if got := sipwire.FormatURI(&r.req.Recipient); got != "sip:conference@example.com" {
			t.Error(got)
		}
		if redirect {
			r.reply(302, "Contact: "+focus)
			s.request("ACK")
			if r = s.request("INVITE"); sipwire.FormatURI(&r.req.Recipient) != "sip:conf-1@10.0.0.2:5070" {
				t.Errorf("%v", r.req)
			}
		}
		conf := s.takes(r, focus)
		forBob, forCarol := s.refer(toBob.replacing("bob")), s.refer(toCarol.replacing("carol"))
		s.request("SUBSCRIBE").reply(489)
		forBob.tells("active;expires=60", "100 Trying")
		toBob.say(200, "BYE", "") // he has been replaced
		forBob.done()
		forCarol.tells("active;expires=60", "180 Ringing")
		forCarol.done()
		s.request("BYE").reply(200) // and carol's server keeps her call
		c, err := result()
		if err != nil {
			t.Fatal(err)
		}
		if c.URI() != "sip:conf-1@10.0.0.2:5070" || c.Call().State() != sip.CallEstablished || bob.State() != sip.CallEnded || carol.State() != sip.CallEnded {
			t.Errorf("%s, %v, %v, %v", c.URI(), c.Call().State(), bob.State(), carol.State())
		}
		expect(t, "merged", c, bobURI, carolURI)
		if p := c.Participants()[0]; p.Call != nil || p.Since.IsZero() {
			t.Errorf("%+v", p)
		}
		return c, conf
	}
	for _, redirect := range []bool{false, true} {
		onStage(t, fmt.Sprintf("redirected: %v", redirect), func(t *testing.T, s *server) {
			c, conf := merged(t, s, &Config{Factory: "conference"}, redirect)
			done := background(func() error { return c.Leave(t.Context()) })
			bye := s.request("BYE")
			bye.reply(200)
			if err := <-done; err != nil || bye.req.CallID().Value() != conf.id() {
				t.Errorf("%v, %v", err, bye.req)
			}
			if err := c.Wait(t.Context()); err != nil {
				t.Error(err)
			}
			if err := c.Leave(t.Context()); !errors.Is(err, ErrClosed) {
				t.Error(err)
			}
			s.quiet()
		})
	}
	onStage(t, "one more, who is not let in again, and the server ends it", func(t *testing.T, s *server) {
		c, conf := merged(t, s, &Config{Factory: "conference", MaxParticipants: 3}, false)
		dave, toDave := s.call("dave")
		done := background(func() error { return c.Add(t.Context(), dave) })
		s.refer(toDave.replacing("dave")).done()
		s.request("BYE").reply(200)
		if err := <-done; err != nil {
			t.Error(err)
		}
		expect(t, "added", c, bobURI, carolURI, "sip:dave@example.com")
		eve, toEve := s.call("eve")
		if err := c.Add(t.Context(), eve); !errors.Is(err, ErrFull) {
			t.Error(err)
		}
		toEve.say(200, "BYE", "")
		conf.say(200, "BYE", "")
		if err := c.Wait(t.Context()); err != nil {
			t.Error(err)
		}
		expect(t, "afterwards", c)
		s.quiet()
	})
	onStage(t, "one declines: he stays in his call, and the error says who", func(t *testing.T, s *server) {
		bob, toBob := s.call("bob")
		carol, toCarol := s.call("carol")
		result := s.merging(&Config{Factory: "conference", NewMixer: newMixer}, bob, carol)
		conf := s.takes(s.request("INVITE"), focus)
		forBob, forCarol := s.refer(toBob.replacing("bob")), s.refer(toCarol.replacing("carol"))
		s.request("SUBSCRIBE").reply(403)
		forCarol.tells("terminated;reason=noresource", "603 Decline")
		forBob.done()
		s.request("BYE").reply(200)
		c, err := result()
		var me *MergeError
		var se *sip.StatusError
		if !errors.As(err, &me) || len(me.Failed) != 1 || me.Failed[0].Call != carol || !errors.As(err, &se) || se.Code != 603 || c == nil {
			t.Fatalf("%v, %v", c, err)
		}
		expect(t, "one of two", c, bobURI)
		if carol.State() != sip.CallEstablished || carol.Held().Local {
			t.Errorf("%v, %+v", carol.State(), carol.Held())
		}
		toCarol.say(200, "BYE", "")
		conf.say(200, "BYE", "")
		s.quiet()
	})
	// RFC 4579 §5.6: asking the user to dial in.
	onStage(t, "the server does not take Replaces: the peer is asked himself", func(t *testing.T, s *server) {
		bob, toBob := s.call("bob")
		result := s.merging(&Config{Factory: "conference"}, bob)
		conf := s.takes(s.request("INVITE"), focus)
		s.request("SUBSCRIBE").reply(489)
		s.request("REFER").reply(420, "Unsupported: replaces")
		r := s.request("REFER")
		if r.req.CallID().Value() != toBob.id() || sipwire.Header(r.req, "Refer-To") != "<sip:conf-1@10.0.0.2:5070>" {
			t.Errorf("%v", r.req)
		}
		r.reply(202, "Contact: <sip:bob@10.0.0.2:5070>")
		toBob.done()
		if bye := s.request("BYE"); bye.req.CallID().Value() != toBob.id() {
			t.Errorf("%v", bye.req)
		} else {
			bye.reply(200)
		}
		c, err := result()
		if err != nil {
			t.Fatal(err)
		}
		expect(t, "dialled in", c, bobURI)
		conf.say(200, "BYE", "")
	})
}

// Without a conference on the network the device mixes, if it may.
func TestMergeFallsBack(t *testing.T) {
	for _, tt := range []struct {
		name     string
		cfg      Config
		refuse   func(s *server)
		want     error
		status   int
		atDevice bool
	}{
		{"the factory refuses, and the device mixes", Config{NewMixer: newMixer}, func(s *server) {
			s.request("INVITE").reply(404)
			s.request("ACK")
		}, nil, 0, true},
		{"who answers is no focus", Config{NewMixer: newMixer}, func(s *server) {
			s.takes(s.request("INVITE"), "<sip:conf-1@10.0.0.2:5070>")
			s.request("BYE").reply(200)
		}, nil, 0, true},
		{"nobody comes", Config{NewMixer: newMixer}, func(s *server) {
			s.takes(s.request("INVITE"), focus)
			s.request("SUBSCRIBE").reply(489)
			s.request("REFER").reply(603)
			s.request("BYE").reply(200)
		}, nil, 0, true},
		{"only the factory", Config{NewMixer: newMixer, FactoryOnly: true}, func(s *server) {
			s.request("INVITE").reply(404)
			s.request("ACK")
		}, nil, 404, false},
		{"no focus, and no mixer", Config{}, func(s *server) {
			s.takes(s.request("INVITE"), "<sip:conf-1@10.0.0.2:5070>")
			s.request("BYE").reply(200)
		}, ErrNoFocus, 0, false},
	} {
		onStage(t, tt.name, func(t *testing.T, s *server) {
			bob, toBob := s.call("bob")
			cfg := tt.cfg
			cfg.Factory = "conference"
			result := s.merging(&cfg, bob)
			tt.refuse(s)
			c, err := result()
			var se *sip.StatusError
			switch {
			case tt.atDevice:
				if err != nil || c == nil || c.Call() != nil || c.URI() != "" {
					t.Fatalf("%v, %v", c, err)
				}
				expect(t, "on the device", c, bobURI)
			case tt.status != 0:
				if !errors.As(err, &se) || se.Code != tt.status || c != nil {
					t.Error(err)
				}
			default:
				if !errors.Is(err, tt.want) || c != nil {
					t.Error(err)
				}
			}
			if bob.State() != sip.CallEstablished {
				t.Error(bob.State())
			}
			toBob.say(200, "BYE", "")
			s.quiet()
		})
	}
	onStage(t, "what cannot be merged at all", func(t *testing.T, s *server) {
		bob, toBob := s.call("bob")
		for _, tt := range []struct {
			cfg   *Config
			calls []*sip.Call
			want  error
		}{
			{&Config{Factory: "conference", NewMixer: newMixer}, []*sip.Call{bob, bob}, ErrCall},
			{&Config{Factory: "conference"}, nil, ErrCall},
			{&Config{Factory: "conference", MaxParticipants: 1}, []*sip.Call{bob, bob}, ErrFull},
		} {
			if c, err := Merge(t.Context(), tt.cfg, tt.calls...); !errors.Is(err, tt.want) || c != nil {
				t.Errorf("%+v: %v", tt.cfg, err)
			}
		}
		for _, cfg := range []*Config{{}, {FactoryOnly: true, NewMixer: newMixer}} {
			if _, err := Merge(t.Context(), cfg, bob); err == nil {
				t.Errorf("%+v: merged", cfg)
			}
		}
		toBob.say(200, "BYE", "")
		s.quiet()
	})
}

func user(name, rest string) string {
	return fmt.Sprintf(`<user entity="sip:%s@example.com"><display-text>%[1]s</display-text>%s</user>`, name, rest)
}

func endpoint(name, status string) string {
	return fmt.Sprintf(`<endpoint entity="sip:%s@10.0.0.2"><status>%s</status></endpoint>`, name, status)
}

// RFC 4575 §4.6: who takes part is what the server tells; a document that is
// missing is asked for.
func TestRoster_RFC4575_4_6(t *testing.T) {
	onStage(t, "full, partial, gap, refresh; removing", func(t *testing.T, s *server) {
		bob, toBob := s.call("bob")
		result := s.merging(&Config{Factory: "conference"}, bob)
		conf := s.takes(s.request("INVITE"), focus)
		forBob := s.refer(toBob.replacing("bob"))
		subscribe := s.request("SUBSCRIBE")
		if got := sipwire.FormatURI(&subscribe.req.Recipient); got != "sip:conf-1@10.0.0.2:5070" || sipwire.Header(subscribe.req, "Event") != "conference" ||
			sipwire.Header(subscribe.req, "Accept") != "application/conference-info+xml" {
			t.Errorf("%v", subscribe.req)
		}
		subscribe.reply(200, "Contact: "+focus, "Expires: 3600")
		roster := subscribe.dialog(s)
		me := user("alice", endpoint("alice", "connected"))
		roster.roster(1, "full", me+user("bob", endpoint("bob", "dialing-out")))
		toBob.say(200, "BYE", "")
		forBob.done()
		c, err := result()
		if err != nil {
			t.Fatal(err)
		}
		expect(t, "bob is called", c)
		roster.roster(2, "partial", user("bob", endpoint("bob", "connected")))
		at := time.Now()
		expect(t, "bob came", c, bobURI)
		if p := c.Participants()[0]; p.ID != bobURI || p.Party.Name != "bob" || p.Call != nil || p.Since.After(at) {
			t.Errorf("%+v", p)
		}
		roster.roster(3, "partial", user("carol", endpoint("carol", "muted-via-focus")))
		expect(t, "carol, whom somebody else has brought in", c, bobURI, carolURI+" (muted)")
		// Version 4 is lost.
		roster.say(200, "NOTIFY", confinfoBegin+`state="partial" version="5"/>`, "Event: conference", "Subscription-State: active;expires=3600", "Content-Type: application/conference-info+xml")
		s.request("SUBSCRIBE").reply(200, "Contact: "+focus, "Expires: 3600")
		synctest.Wait()
		expect(t, "until all is told", c, bobURI, carolURI+" (muted)")
		roster.roster(6, "full", me+user("bob", endpoint("bob", "on-hold"))+user("carol", endpoint("carol", "connected")))
		expect(t, "refreshed", c, bobURI+" (holds)", carolURI)
		// Of another conference, and none at all: passed over.
		roster.say(200, "NOTIFY", "<!DOCTYPE x>", "Event: conference", "Subscription-State: active;expires=3600", "Content-Type: application/conference-info+xml")
		expect(t, "after nonsense", c, bobURI+" (holds)", carolURI)

		all := c.Participants()
		if err := c.Mute(t.Context(), all[0], true); !errors.Is(err, ErrUnsupported) {
			t.Error(err)
		}
		if _, err := c.Split(t.Context()); !errors.Is(err, ErrUnsupported) {
			t.Error(err)
		}
		if err := c.Remove(t.Context(), Participant{ID: "sip:eve@example.com"}); !errors.Is(err, ErrParticipant) {
			t.Error(err)
		}
		for _, tt := range []struct {
			status int
			want   error
		}{{403, ErrForbidden}, {405, ErrUnsupported}, {481, ErrParticipant}} {
			done := background(func() error { return c.Remove(t.Context(), all[1]) })
			s.request("REFER").reply(tt.status)
			var se *sip.StatusError
			if err := <-done; !errors.Is(err, tt.want) || !errors.As(err, &se) || se.Code != tt.status {
				t.Errorf("%d: %v", tt.status, err)
			}
		}
		// §5.11 of RFC 4579.
		done := background(func() error { return c.Remove(t.Context(), all[1]) })
		s.refer("<" + carolURI + ";method=BYE>").done()
		if err := <-done; err != nil {
			t.Error(err)
		}
		roster.roster(7, "full", me+user("bob", endpoint("bob", "connected")))
		expect(t, "removed", c, bobURI)
		conf.say(200, "BYE", "")
		roster.say(200, "NOTIFY", "", "Event: conference", "Subscription-State: terminated;reason=noresource")
		if err := c.Wait(t.Context()); err != nil {
			t.Error(err)
		}
	})
}

// On the device: two are connected with each other, more go to the network.
func TestLeave(t *testing.T) {
	here := func(t *testing.T, cfg *Config, calls ...*sip.Call) *Conference {
		t.Helper()
		c, err := mergeHere(t.Context(), cfg, calls)
		if err != nil {
			t.Fatal(err)
		}
		return c
	}
	onStage(t, "RFC 5589 §7: two, of whom one declines first", func(t *testing.T, s *server) {
		bob, toBob := s.call("bob")
		carol, toCarol := s.call("carol")
		c := here(t, &Config{NewMixer: newMixer}, bob, carol)
		for _, status := range []string{"603 Decline", "200 OK"} {
			done := background(func() error { return c.Leave(t.Context()) })
			r := s.request("REFER")
			if r.req.CallID().Value() != toBob.id() || sipwire.Header(r.req, "Refer-To") != toCarol.replacing("carol") {
				t.Errorf("%v", r.req)
			}
			r.reply(202, "Contact: <sip:bob@10.0.0.2:5070>")
			toBob.tells("terminated;reason=noresource", status)
			if status == "200 OK" {
				s.request("BYE").reply(200)
				s.request("BYE").reply(200)
				if err := <-done; err != nil {
					t.Error(err)
				}
				break
			}
			var se *sip.StatusError
			if err := <-done; !errors.As(err, &se) || se.Code != 603 {
				t.Error(err)
			}
			expect(t, "declined", c, bobURI, carolURI)
		}
		if err := c.Wait(t.Context()); err != nil || bob.End().Cause != sip.CauseTransferred {
			t.Errorf("%v, %+v", err, bob.End())
		}
		s.quiet()
	})
	onStage(t, "three, without a factory", func(t *testing.T, s *server) {
		var calls []*sip.Call
		for _, name := range []string{"bob", "carol", "dave"} {
			c, _ := s.call(name)
			calls = append(calls, c)
		}
		c := here(t, &Config{NewMixer: newMixer}, calls...)
		if err := c.Leave(t.Context()); !errors.Is(err, ErrLeave) || len(c.Participants()) != 3 {
			t.Errorf("%v, %v", err, c.Participants())
		}
		done := background(func() error { return c.Close(t.Context()) })
		for range calls {
			s.request("BYE").reply(200)
		}
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	for _, all := range []bool{true, false} {
		onStage(t, fmt.Sprintf("three, with a factory; all come: %v", all), func(t *testing.T, s *server) {
			var calls []*sip.Call
			var to []*dialog
			names := []string{"bob", "carol", "dave"}
			for _, name := range names {
				c, d := s.call(name)
				calls, to = append(calls, c), append(to, d)
			}
			c := here(t, &Config{NewMixer: newMixer, Factory: "conference"}, calls...)
			done := background(func() error { return c.Leave(t.Context()) })
			conf := s.takes(s.request("INVITE"), focus)
			s.request("SUBSCRIBE").reply(489)
			var refers []*dialog
			for i, name := range names {
				refers = append(refers, s.refer(to[i].replacing(name)))
			}
			for i, refer := range refers {
				if !all && i == 2 {
					refer.tells("terminated;reason=noresource", "603 Decline")
					break
				}
				to[i].say(200, "BYE", "")
				refer.done()
			}
			if all {
				if bye := s.request("BYE"); bye.req.CallID().Value() != conf.id() {
					t.Errorf("%v", bye.req)
				} else {
					bye.reply(200)
				}
				if err := <-done; err != nil {
					t.Error(err)
				}
				if err := c.Wait(t.Context()); err != nil {
					t.Error(err)
				}
				s.quiet()
				return
			}
			var me *MergeError
			if err := <-done; !errors.As(err, &me) || len(me.Failed) != 1 || me.Failed[0].Call != calls[2] {
				t.Error(err)
			}
			synctest.Wait()
			expect(t, "dave and the focus", c, "sip:dave@example.com", "sip:conference@example.com")
			to[2].say(200, "BYE", "")
			conf.say(200, "BYE", "")
			if err := c.Wait(t.Context()); err != nil {
				t.Error(err)
			}
			s.quiet()
		})
	}
}
