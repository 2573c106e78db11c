package sip

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/hoorn-phone/hoorn/internal/sipwire"
)

// "Unlike the Replaces header, the Join header has no limitation on its use with
// early dialogs" (RFC 3911 §4): of a call that rings here, and of one of ours, of
// any of its forks.
func TestJoinEarly_RFC3911_4(t *testing.T) {
	// joins lets carol join the dialog with an actor.
	joins := func(t *testing.T, s *stage, a *actor, c *Call) (*actor, *Call) {
		t.Helper()
		carol := s.actor("carol")
		carol.invite("Require: join", "Join: "+a.replaces())
		j, err := s.ua.Accept(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if j.Joins() != c {
			t.Errorf("joins %v", j.Joins())
		}
		return carol, j
	}
	onStage(t, "that rings here", nil, func(t *testing.T, s *stage) {
		bob := s.actor("bob")
		bob.invite()
		c, err := s.ua.Accept(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if err := c.Ring(t.Context()); err != nil {
			t.Fatal(err)
		}
		bob.remote = sipwire.ToTag(s.response(180))
		carol, j := joins(t, s, bob, c)
		go j.Answer(t.Context(), nil)
		carol.taken()
		if c.State() != CallRinging {
			t.Error(c.State()) // it is nobody's but bob's to end, and alice's
		}
		go c.Answer(t.Context(), nil)
		bob.taken()
		for _, x := range []*Call{c, j} {
			if err := x.Answered(t.Context()); err != nil {
				t.Error(err)
			}
		}
		s.quiet(time.Minute)
	})
	onStage(t, "of ours, of either fork", nil, func(t *testing.T, s *stage) {
		c, bob := s.begins()
		dave := bob.fork("dave")
		bob.says(180, "")
		dave.says(180, "")
		synctest.Wait()
		carol, j := joins(t, s, dave, c)
		go j.Answer(t.Context(), nil)
		carol.taken()
		erin, refused := joins(t, s, bob, c)
		// "If it is not possible to join ... 488" (§4): who has nothing to mix with.
		if err := refused.Reject(t.Context(), 488); err != nil {
			t.Error(err)
		}
		s.response(488)
		erin.say("ACK")
		// The fork that was joined is not the one that answers: the call is.
		bob.pickUp()
		if err := c.Answered(t.Context()); err != nil || j.Joins() != c {
			t.Errorf("%v, joins %v", err, j.Joins())
		}
		if j.State() != CallEstablished {
			t.Error(j.State())
		}
		// dave's dialog is gone with the INVITE.
		frank := s.actor("frank")
		frank.invite("Join: " + dave.replaces())
		s.response(481)
		s.quiet(time.Minute)
	})
	onStage(t, "that is over", nil, func(t *testing.T, s *stage) {
		c, bob := s.begins()
		bob.says(180, "")
		synctest.Wait()
		bob.answer(486)
		s.request("ACK")
		carol := s.actor("carol")
		carol.invite("Join: " + bob.replaces())
		s.response(603)
		if c.State() != CallEnded {
			t.Error(c.State())
		}
	})
}

// RFC 3891 §3: "the UA MUST verify that the initiator of the new INVITE is
// authorized to replace the matched dialog", and RFC 3911 §4 to join it. Where an
// account takes requests from anywhere, who has not come through its server is
// not, though he knows the dialog and names himself as the peer does.
func TestStranger_RFC3891_3(t *testing.T) {
	anywhere := func(c *Config) {
		c.AnySource, c.Listen = true, []string{"tcp:10.0.0.1:5060"}
	}
	for _, policy := range []string{"none", "asked", "open"} {
		var asked []ReplaceRequest
		cfg := func(c *Config) {
			anywhere(c)
			asked = nil
			if policy != "none" {
				c.Replace = func(r *ReplaceRequest) bool {
					asked = append(asked, *r)
					return policy == "open" || r.OwnFlow
				}
			}
		}
		onStage(t, "policy: "+policy, cfg, func(t *testing.T, s *stage) {
			bob := s.actor("bob")
			c := bob.calls()
			host := s.net.Host("10.0.0.66")
			raw, err := host.Dial(t.Context(), "tcp", "10.0.0.1:5060")
			if err != nil {
				t.Fatal(err)
			}
			stranger := &conn{t: t, c: raw, in: make(chan sipMessage, 8)}
			go stranger.read()
			defer raw.Close()
			ack := func(branch, tag string) { stranger.ask("ACK", "m", branch, 1, tag, "") }
			identity := "P-Asserted-Identity: <sip:bob@example.com>"
			// Otherwise he is a caller like others.
			stranger.ask("OPTIONS", "m", "o", 1, "", "")
			stranger.response(200)
			if policy == "open" {
				stranger.ask("INVITE", "m", "r", 1, "", sdpBody, "Replaces: "+bob.replaces(), identity)
				if r := stranger.response(200); c.Dialog().CallID != bob.id {
					t.Error("moved before its ACK")
				} else {
					ack("a", sipwire.ToTag(r))
				}
				bob.bye()
				if len(asked) != 1 || asked[0].OwnFlow || asked[0].Call != c || c.Dialog().CallID != "m" {
					t.Errorf("%+v", asked)
				}
				// What he asserts about himself counts for nothing (RFC 3325 §5).
				if asked[0].From.URI == "sip:bob@example.com" {
					t.Errorf("from %v", asked[0].From)
				}
				return
			}
			for i, name := range []string{"Replaces", "Join", "Replaces"} {
				branch := "x" + string(rune('0'+i))
				call := "m" + branch
				stranger.ask("INVITE", call, branch, 1, "", sdpBody, name+": "+bob.replaces(), identity, "Referred-By: <sip:bob@example.com>")
				stranger.response(403)
				stranger.ask("ACK", call, branch, 1, "x", "")
			}
			if c.State() != CallEstablished || c.Dialog().CallID != bob.id || policy == "asked" && len(asked) != 3 {
				t.Errorf("%v in %+v, asked %+v", c.State(), c.Dialog(), asked)
			}
			// Who comes by the server may.
			carol := s.actor("carol")
			carol.invite("Replaces: " + bob.replaces())
			carol.taken()
			bob.bye()
			if c.Remote().URI != "sip:carol@example.com" {
				t.Error(c.Remote())
			}
		})
	}
}
