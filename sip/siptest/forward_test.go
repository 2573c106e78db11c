package siptest_test

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/hoorn-phone/hoorn/internal/sipwire"
	"github.com/hoorn-phone/hoorn/media"
	"github.com/hoorn-phone/hoorn/media/mediatest"
	"github.com/hoorn-phone/hoorn/sip"
	"github.com/hoorn-phone/hoorn/sip/siptest"
)

// RFC 5806, RFC 7044 §5, RFC 7544 §3.2: what a device hears of who has
// forwarded a call to it, and when it is called.
func TestForward(t *testing.T) {
	const secs = time.Second
	for _, c := range []struct {
		name     string
		set      siptest.Settings
		bob      string // what bob's device does: "absent", a status, or "" rings
		after    time.Duration
		reason   string
		cause    int
		answered string // Reason in History-Info
	}{
		{"always", siptest.Settings{ForwardAlways: "carol"}, "486", 0, "unconditional", 302, ""},
		{"always before do not disturb", siptest.Settings{ForwardAlways: "carol", ForwardBusy: "alice", DoNotDisturb: true}, "", 0, "unconditional", 302, ""},
		{"busy", siptest.Settings{ForwardBusy: "carol", ForwardNoAnswer: "alice"}, "486", 0, "user-busy", 486, "486"},
		{"busy everywhere", siptest.Settings{ForwardBusy: "carol"}, "600", 0, "user-busy", 486, "486"},
		{"do not disturb", siptest.Settings{ForwardBusy: "carol", DoNotDisturb: true}, "", 0, "do-not-disturb", 404, "404"},
		{"no answer", siptest.Settings{ForwardNoAnswer: "carol"}, "", 18 * secs, "no-answer", 408, "408"},
		{"no answer after", siptest.Settings{ForwardNoAnswer: "carol", NoAnswerAfter: 5 * secs}, "", 5 * secs, "no-answer", 408, "408"},
		{"no answer of the device", siptest.Settings{ForwardNoAnswer: "carol"}, "480", 0, "no-answer", 408, "408"},
		{"absent", siptest.Settings{ForwardNotReachable: "carol", ForwardNoAnswer: "alice"}, "absent", 0, "unavailable", 503, "503"},
		{"absent, as unanswered", siptest.Settings{ForwardNoAnswer: "carol"}, "absent", 0, "unavailable", 503, "503"},
		{"silent", siptest.Settings{ForwardNotReachable: "carol"}, "silent", 32 * secs, "unavailable", 503, "503"},
	} {
		t.Run(c.name, func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				l := start(t, nil)
				if err := l.Change("bob", func(s *siptest.Settings) { *s = c.set }); err != nil {
					t.Fatal(err)
				}
				alice, carol := l.phone("alice"), l.phone("carol")
				var bob *raw
				if c.bob != "absent" {
					bob = l.raw()
					bob.register("bob")
				}
				began := time.Now()
				a := alice.call("bob")
				if bob != nil && c.set.ForwardAlways == "" && !c.set.DoNotDisturb {
					invite := bob.expect("INVITE")
					switch c.bob {
					case "":
						bob.reply(invite, 180, "")
					case "silent":
					default:
						var status int
						fmt.Sscan(c.bob, &status)
						bob.reply(invite, status, "")
					}
				}
				b := carol.accept()
				if took := time.Since(began); took != c.after {
					t.Errorf("forwarded after %v, want %v", took, c.after)
				}
				if err := b.Answer(t.Context(), nil); err != nil {
					t.Fatal(err)
				}
				if err := a.Answered(t.Context()); err != nil {
					t.Fatal(err)
				}
				invite := parse(t, l.messages("carol", "INVITE", true)[0])
				want := `"Bob" <sip:1002@pbx.example;user=phone>;reason=` + c.reason + ";counter=1"
				if got := sipwire.Header(invite, "Diversion"); got != want {
					t.Errorf("Diversion %s, want %s", got, want)
				}
				reason := ""
				if c.answered != "" {
					reason = "?Reason=SIP%3Bcause%3D" + c.answered
				}
				want = fmt.Sprintf("<sip:1002@pbx.example;user=phone%s>;index=1,<sip:carol@pbx.example;cause=%d>;index=1.1;mp=1", reason, c.cause)
				if got := sipwire.Header(invite, "History-Info"); got != want {
					t.Errorf("History-Info %s, want %s", got, want)
				}
				if n := l.count("alice< 181 INVITE"); n != 1 {
					t.Errorf("alice got %d responses 181", n)
				}
				ok := parse(t, l.messages("alice", "SIP/2.0 200", true)[1])
				if got := sipwire.Header(ok, "P-Asserted-Identity"); got != "<sip:carol@pbx.example>" {
					t.Errorf("alice is connected to %s", got)
				}
				if bob != nil && c.bob == "" && c.set.ForwardAlways == "" && !c.set.DoNotDisturb {
					bob.reply(bob.expect("CANCEL"), 200, "")
				}
				a.Hangup(t.Context())
				ended(t, b, sip.Remote)
				l.idle()
			})
		})
	}
}

// Several forwards leave their trail; a loop ends.
func TestForwardTwice(t *testing.T) {
	bubble(t, func(t *testing.T) {
		l := start(t, func(c *siptest.Config) {
			c.Users = append(c.Users, siptest.User{Name: "dave"}, siptest.User{Name: "erin"})
		})
		alice, erin := l.phone("alice"), l.phone("erin")
		l.Change("bob", func(s *siptest.Settings) { s.ForwardAlways = "carol" })
		l.Change("carol", func(s *siptest.Settings) { s.ForwardBusy, s.DoNotDisturb = "erin", true })
		a := alice.call("1002")
		b := erin.accept()
		invite := parse(t, l.messages("erin", "INVITE", true)[0])
		var got []string
		for _, h := range invite.GetHeaders("Diversion") {
			got = append(got, h.Value())
		}
		want := []string{
			"<sip:carol@pbx.example>;reason=do-not-disturb;counter=1",
			`"Bob" <sip:1002@pbx.example;user=phone>;reason=unconditional;counter=1`,
		}
		if !slices.Equal(got, want) {
			t.Errorf("Diversion %q, want the latest first: %q", got, want)
		}
		if got, want := sipwire.Header(invite, "History-Info"), "<sip:1002@pbx.example;user=phone>;index=1,"+
			"<sip:carol@pbx.example;cause=302?Reason=SIP%3Bcause%3D404>;index=1.1;mp=1,<sip:erin@pbx.example;cause=404>;index=1.1.1;mp=1.1"; got != want {
			t.Errorf("History-Info %s, want %s", got, want)
		}
		if got := sipwire.Header(invite, "Max-Forwards"); got != "67" {
			t.Errorf("Max-Forwards %s, want one less for each hop", got)
		}
		b.Reject(t.Context(), 486)
		if end := ended(t, a, sip.Remote); end.Status != 486 {
			t.Errorf("ended with %d", end.Status)
		}

		l.Change("carol", func(s *siptest.Settings) { *s = siptest.Settings{ForwardAlways: "bob"} })
		if end := ended(t, alice.call("bob"), sip.Remote); end.Status != 482 {
			t.Errorf("a loop ended with %d", end.Status)
		}
		l.Change("carol", func(s *siptest.Settings) { s.ForwardAlways = "nobody" })
		if end := ended(t, alice.call("bob"), sip.Remote); end.Status != 404 {
			t.Errorf("a call to nobody ended with %d", end.Status)
		}
		l.idle()
	})
}

// What cannot be forwarded ends as it would have.
func TestNotForwarded(t *testing.T) {
	for _, c := range []struct {
		name   string
		set    siptest.Settings
		bob    int
		status int
	}{
		{"do not disturb", siptest.Settings{DoNotDisturb: true}, 0, 486},
		{"declined", siptest.Settings{ForwardBusy: "carol", ForwardNoAnswer: "carol"}, 603, 603},
		{"busy, forwarded to himself", siptest.Settings{ForwardBusy: "bob"}, 486, 486},
		{"busy, forwarded to nobody", siptest.Settings{ForwardBusy: "nobody"}, 486, 486},
		{"busy, forwarded to who is absent", siptest.Settings{ForwardBusy: "carol"}, 486, 486},
		{"busy, forwarded if not", siptest.Settings{ForwardNoAnswer: "carol"}, 486, 486},
	} {
		t.Run(c.name, func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				l := start(t, nil)
				l.Change("bob", func(s *siptest.Settings) { *s = c.set })
				alice, bob := l.phone("alice"), l.phone("bob")
				a := alice.call("bob")
				if c.bob != 0 {
					bob.accept().Reject(t.Context(), c.bob)
				}
				if end := ended(t, a, sip.Remote); end.Status != c.status {
					t.Errorf("ended with %d, want %d", end.Status, c.status)
				}
				l.idle()
			})
		})
	}
}

// A call is forwarded to a number of the lab's own, whether it rang or not.
func TestForwardToService(t *testing.T) {
	for _, set := range []siptest.Settings{{ForwardAlways: "echo"}, {ForwardBusy: "9001"}} {
		bubble(t, func(t *testing.T) {
			l := start(t, nil)
			l.Change("bob", func(s *siptest.Settings) { *s = set })
			alice, bob := l.caller("alice", nil), l.raw()
			bob.register("bob")
			speech := mediatest.Speech(1, rate)
			a := alice.call("bob")
			if set.ForwardAlways == "" {
				bob.reply(bob.expect("INVITE"), 486, "")
			}
			if err := a.Answered(t.Context()); err != nil {
				t.Fatal(err)
			}
			s, _ := media.FromCall(a)
			e := new(ear)
			if err := errors.Join(s.SetSink(e), s.SetSource(media.NewPCMSource(rate, speech, false))); err != nil {
				t.Fatal(err)
			}
			wait(t, 7*time.Second)
			if ok, score := mediatest.Heard(speech, e.heard(), rate); !ok {
				t.Errorf("the echo: %+v", score)
			}
			a.Hangup(t.Context())
			l.idle()
		})
	}
}

// A GRUU is a device: where calls to its user go does not matter.
func TestForwardNotGRUU(t *testing.T) {
	bubble(t, func(t *testing.T) {
		l := start(t, func(c *siptest.Config) { c.Registrar.GRUU = true })
		l.Change("bob", func(s *siptest.Settings) { s.ForwardAlways = "carol" })
		alice, bob := l.phone("alice"), l.phone("bob")
		alice.call("sip:bob@pbx.example;gr=" + l.Devices("bob")[0].Instance)
		bob.accept().Reject(t.Context(), 486)
		l.idle()
	})
}

// The access codes, over UDP and TLS: each is confirmed, and does what it says.
func TestForwardingCodes(t *testing.T) {
	for _, over_ := range []sip.Transport{sip.UDP, sip.TLS} {
		t.Run(string(over_), func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				l := start(t, nil)
				alice := l.caller("alice", nil, over(l, over_))
				dial := func(code string) error {
					c, err := alice.Dial(t.Context(), code, nil)
					if err != nil {
						return err
					}
					s, _ := media.FromCall(c)
					e := new(ear)
					s.SetSink(e)
					ended(t, c, sip.Remote)
					// Half of it is pauses.
					if share := mediatest.ToneShare(e.heard(), rate, 440); share < 0.4 {
						t.Errorf("%s: %.2f of what was heard is the confirmation", code, share)
					}
					return nil
				}
				for _, c := range []struct {
					code string
					want siptest.Settings
				}{
					{"*721002", siptest.Settings{ForwardAlways: "1002"}},
					{"*90carol", siptest.Settings{ForwardAlways: "1002", ForwardBusy: "carol"}},
					{"*73", siptest.Settings{ForwardBusy: "carol"}},
					{"*929001", siptest.Settings{ForwardBusy: "carol", ForwardNoAnswer: "9001"}},
					{"*91", siptest.Settings{ForwardNoAnswer: "9001"}},
					{"*9410-02", siptest.Settings{ForwardNoAnswer: "9001", ForwardNotReachable: "1002"}},
					{"*93", siptest.Settings{ForwardNotReachable: "1002"}},
					{"*78", siptest.Settings{ForwardNotReachable: "1002", DoNotDisturb: true}},
					{"*95", siptest.Settings{DoNotDisturb: true}},
					{"*79", siptest.Settings{}},
				} {
					if err := dial(c.code); err != nil {
						t.Errorf("%s: %v", c.code, err)
					}
					if got := l.Settings("alice"); got != c.want {
						t.Errorf("%s: %+v, want %+v", c.code, got, c.want)
					}
				}
				for _, code := range []string{"*72nobody", "*72alice", "*721001"} {
					var se *sip.StatusError
					if err := dial(code); !errors.As(err, &se) || se.Code != 404 {
						t.Errorf("%s: %v, want 404", code, err)
					}
				}
				if got := l.Settings("alice"); got != (siptest.Settings{}) {
					t.Errorf("what was refused is set: %+v", got)
				}
				l.idle()
			})
		})
	}
}

// Without a number behind the code the lab asks for it.
func TestForwardingAsks(t *testing.T) {
	for digits, want := range map[string]string{"1002#": "1002", "1002": "1002", "77#": "", "": ""} {
		bubble(t, func(t *testing.T) {
			l := start(t, nil)
			alice := l.caller("alice", nil)
			call, s, _ := listen(t, alice, "*72", nil)
			wait(t, time.Second)
			if digits != "" {
				if err := s.SendDTMF(t.Context(), digits, nil); err != nil {
					t.Error(err)
				}
			}
			ended(t, call, sip.Remote)
			if got := l.Settings("alice").ForwardAlways; got != want {
				t.Errorf("%q: forwarded to %q, want %q", digits, got, want)
			}
			l.idle()
		})
	}
}

// RFC 3323 §4.2: one call without the number, one with it, whatever the
// device says; redial and call return.
func TestCallerIDCodes(t *testing.T) {
	bubble(t, func(t *testing.T) {
		l := start(t, nil)
		alice, bob := l.phone("alice"), l.phone("bob")
		meet := func(p, q *phone, number string) string {
			t.Helper()
			l.ClearTranscript()
			c := p.call(number)
			q.accept().Reject(t.Context(), 486)
			ended(t, c, sip.Remote)
			user, _, _ := strings.Cut(strings.TrimPrefix(q.AOR(), "sip:"), "@")
			return sipwire.Header(parse(t, l.messages(user, "INVITE", true)[0]), "From")
		}
		for _, c := range []struct{ number, from string }{
			{"*67bob", `"Anonymous" <sip:anonymous@anonymous.invalid>`},
			{"*66", `"Alice" <sip:1001@pbx.example;user=phone>`}, // one call only
			{"*651002", `"Alice" <sip:1001@pbx.example;user=phone>`},
		} {
			if got := meet(alice, bob, c.number); !strings.HasPrefix(got, c.from) {
				t.Errorf("%s: bob saw %s, want %s", c.number, got, c.from)
			}
		}
		meet(bob, alice, "*69")
		meet(alice, bob, "*67bob")
		if end := ended(t, bob.call("*69"), sip.Remote); end.Status != 404 {
			t.Errorf("call return to who withheld his number: %d", end.Status)
		}
		l.idle()
	})
}
