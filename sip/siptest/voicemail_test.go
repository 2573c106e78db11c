package siptest_test

import (
	"errors"
	"testing"
	"time"

	"github.com/hoorn-phone/hoorn/media"
	"github.com/hoorn-phone/hoorn/media/mediatest"
	"github.com/hoorn-phone/hoorn/sip"
	"github.com/hoorn-phone/hoorn/sip/siptest"
)

// withVoicemail gives bob a mailbox.
func withVoicemail(v siptest.Voicemail) func(*siptest.Config) {
	return func(c *siptest.Config) { c.Users[1].Voicemail = &v }
}

// leave speaks into a mailbox that was reached.
func leave(t *testing.T, c *sip.Call, speech []int16) (heard *ear, s *media.Session) {
	t.Helper()
	if err := c.Answered(t.Context()); err != nil {
		t.Fatal(err)
	}
	s, _ = media.FromCall(c)
	heard = new(ear)
	s.SetSink(heard)
	wait(t, 2*time.Second) // greeting and beep
	if err := s.SetSource(media.NewPCMSource(rate, speech, false)); err != nil {
		t.Fatal(err)
	}
	return heard, s
}

// Calls reach the mailbox when they should, and what was said is in it when
// the caller hangs up.
func TestVoicemail(t *testing.T) {
	speech := mediatest.Speech(1, rate)
	for _, c := range []struct {
		name  string
		set   func(*siptest.Settings)
		bob   int // what his device answers; 0 is nothing, -1 that there is none
		after time.Duration
	}{
		{"busy", func(*siptest.Settings) {}, 486, 0},
		{"no answer", func(*siptest.Settings) {}, 0, 18 * time.Second},
		{"absent", func(*siptest.Settings) {}, -1, 0},
		{"do not disturb", func(s *siptest.Settings) { s.DoNotDisturb = true }, -1, 0},
		{"always", func(s *siptest.Settings) { s.VoicemailAlways = true }, -1, 0},
	} {
		t.Run(c.name, func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				l := start(t, withVoicemail(siptest.Voicemail{}))
				l.Change("bob", c.set)
				alice := l.caller("alice", nil)
				var bob *phone
				if c.bob >= 0 {
					bob = l.phone("bob")
				}
				began := time.Now()
				a := alice.call("bob")
				if c.bob > 0 {
					bob.accept().Reject(t.Context(), c.bob)
				}
				heard, _ := leave(t, a, speech)
				if took := time.Since(began); took != c.after+2*time.Second {
					t.Errorf("the mailbox answered after %v, want %v", took-2*time.Second, c.after)
				}
				wait(t, 6*time.Second)
				a.Hangup(t.Context())
				l.idle()
				box := l.Mailbox("bob")
				if len(box) != 1 || box[0].From != "1001" || box[0].Name != "Alice" || box[0].Old || box[0].ID != 1 {
					t.Fatalf("in the mailbox: %+v", box)
				}
				if at := box[0].At.Sub(began) - c.after; at < 1700*time.Millisecond || at > 1900*time.Millisecond {
					t.Errorf("recorded %v after the call came", at)
				}
				if ok, score := mediatest.Heard(speech, box[0].PCM, rate); !ok {
					t.Errorf("the message: %+v", score)
				}
				if share := mediatest.ToneShare(heard.heard()[rate*3/2+rate/10:rate*3/2+rate/5], rate, 1000); share < 0.8 {
					t.Errorf("%.2f of what follows the greeting is the beep", share)
				}
			})
		})
	}
}

// press presses keys; with the last of them the lab may hang up.
func press(t *testing.T, s *media.Session, keys string) {
	t.Helper()
	if err := s.SendDTMF(t.Context(), keys, nil); err != nil && !errors.Is(err, media.ErrClosed) {
		t.Error(err)
	}
}

// Where a message ends, and what is none.
func TestVoicemailEnds(t *testing.T) {
	speech := mediatest.Speech(1, rate)
	for _, c := range []struct {
		name string
		box  siptest.Voicemail
		do   func(t *testing.T, s *media.Session)
		say  []int16
		took [2]time.Duration // the whole call
		left [2]time.Duration // the message; 0: none
	}{
		{"silence", siptest.Voicemail{}, nil, speech, [2]time.Duration{11 * time.Second, 14 * time.Second}, [2]time.Duration{5 * time.Second, 6 * time.Second}},
		{"nothing said", siptest.Voicemail{}, nil, nil, [2]time.Duration{6 * time.Second, 8 * time.Second}, [2]time.Duration{}},
		{"limit", siptest.Voicemail{Limit: 2 * time.Second}, nil, speech, [2]time.Duration{3 * time.Second, 5 * time.Second}, [2]time.Duration{1500 * time.Millisecond, 2020 * time.Millisecond}},
		{"#", siptest.Voicemail{}, func(t *testing.T, s *media.Session) {
			wait(t, 3*time.Second)
			press(t, s, "1#")
		}, speech, [2]time.Duration{5 * time.Second, 6 * time.Second}, [2]time.Duration{3 * time.Second, 4 * time.Second}},
	} {
		t.Run(c.name, func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				l := start(t, withVoicemail(c.box))
				alice := l.caller("alice", nil)
				began := time.Now()
				a := alice.call("bob")
				_, s := leave(t, a, c.say)
				if c.do != nil {
					c.do(t, s)
				}
				ended(t, a, sip.Remote)
				if took := time.Since(began); took < c.took[0] || took > c.took[1] {
					t.Errorf("the call took %v, want %v", took, c.took)
				}
				box := l.Mailbox("bob")
				if c.left[1] == 0 {
					if len(box) != 0 {
						t.Errorf("in the mailbox: %v", box[0].Duration())
					}
				} else if len(box) != 1 || box[0].Duration() < c.left[0] || box[0].Duration() > c.left[1] {
					t.Errorf("in the mailbox: %d messages, want one of %v", len(box), c.left)
				}
				l.idle()
			})
		})
	}
}

// A greeting of one's own, which a key skips; a mailbox that is full.
func TestVoicemailGreeting(t *testing.T) {
	bubble(t, func(t *testing.T) {
		tone := mediatest.Tone(600, 8000, 10*8000, 8000)
		l := start(t, withVoicemail(siptest.Voicemail{Greeting: wavFile(t, 8000, tone), Messages: 1}))
		alice := l.caller("alice", nil)
		c, s, e := listen(t, alice, "bob", nil)
		wait(t, time.Second)
		if share := mediatest.ToneShare(e.heard()[rate/5:], rate, 600); share < 0.9 {
			t.Errorf("%.2f of what was heard is the greeting", share)
		}
		press(t, s, "#")
		s.SetSource(media.NewTone(rate, -10, 300))
		wait(t, 2*time.Second)
		c.Hangup(t.Context())
		wait(t, time.Second)
		if n := len(l.Mailbox("bob")); n != 1 {
			t.Errorf("%d messages", n)
		}
		var se *sip.StatusError
		if _, err := alice.Dial(t.Context(), "bob", nil); !errors.As(err, &se) || se.Code != 480 {
			t.Errorf("a full mailbox: %v", err)
		}
		for _, number := range []string{"*86", "*21", "*99"} { // alice has no mailbox
			if _, err := alice.Dial(t.Context(), number, nil); !errors.As(err, &se) || se.Code != 403 {
				t.Errorf("%s: %v, want 403", number, err)
			}
		}
		l.idle()
	})
}

// The voice portal, over UDP and TLS: what the keys do.
func TestVoicePortal(t *testing.T) {
	for _, by := range []sip.Transport{sip.UDP, sip.TLS} {
		t.Run(string(by), func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				l := start(t, withVoicemail(siptest.Voicemail{}))
				tone := func(hz float64) siptest.VoiceMessage {
					return siptest.VoiceMessage{PCM: mediatest.Tone(hz, rate, 2*rate, 8000)}
				}
				for _, hz := range []float64{500, 700, 900} {
					if err := l.Deposit("bob", tone(hz)); err != nil {
						t.Fatal(err)
					}
				}
				if err := l.KeepMessage("bob", 1); err != nil {
					t.Fatal(err)
				}
				bob := l.caller("bob", nil, over(l, by))
				c, s, e := listen(t, bob, "*86", nil)
				at := 0
				// play hears a message after what comes before it, and presses
				// keys.
				play := func(skip time.Duration, hz float64, keys string) {
					t.Helper()
					wait(t, skip+2*time.Second)
					pcm := e.heard()
					if share := mediatest.ToneShare(pcm[len(pcm)-rate:len(pcm)-rate/4], rate, hz); share < 0.8 {
						t.Errorf("%.2f of message %d is a tone of %v Hz", share, at, hz)
					}
					at++
					wait(t, time.Second)
					press(t, s, keys)
				}
				play(400*time.Millisecond, 700, "1")  // the first new one, again
				play(0, 700, "7")                     // deleted
				play(500*time.Millisecond, 900, "49") // 4 means nothing; kept
				play(500*time.Millisecond, 500, "#")  // the old one
				ended(t, c, sip.Remote)
				box := l.Mailbox("bob")
				if len(box) != 2 || box[0].ID != 1 || box[1].ID != 3 || !box[1].Old {
					t.Errorf("left in the mailbox: %d messages", len(box))
				}
				if err := errors.Join(l.DeleteMessage("bob", 1), l.DeleteMessage("bob", 3)); err != nil {
					t.Error(err)
				}
				c, _, _ = listen(t, bob, "*62", nil)
				began := time.Now()
				ended(t, c, sip.Remote)
				if took := time.Since(began); took > 2*time.Second {
					t.Errorf("an empty mailbox took %v", took)
				}
				l.Deposit("bob", tone(500))
				c, _, _ = listen(t, bob, "*99", nil)
				ended(t, c, sip.Remote)
				if box := l.Mailbox("bob"); len(box) != 1 || !box[0].Old {
					t.Errorf("after *99: %d messages", len(box))
				}
				l.idle()
			})
		})
	}
}

// The codes that send calls to the mailbox, and no longer.
func TestVoicemailCodes(t *testing.T) {
	bubble(t, func(t *testing.T) {
		l := start(t, withVoicemail(siptest.Voicemail{}))
		bob := l.caller("bob", nil)
		for _, c := range []struct {
			code                   string
			always, busy, noAnswer bool
		}{
			{"*21", true, true, true}, {"%2321", false, true, true},
			{"%2340", false, false, true}, {"%2341", false, false, false},
			{"*40", false, true, false}, {"*41", false, true, true},
		} {
			call, _, _ := listen(t, bob, "sip:"+c.code+"@pbx.example", nil)
			ended(t, call, sip.Remote)
			if s := l.Settings("bob"); s.VoicemailAlways != c.always || s.VoicemailBusy != c.busy || s.VoicemailNoAnswer != c.noAnswer {
				t.Errorf("%s: %+v", c.code, s)
			}
		}
	})
	if _, err := siptest.Start(&siptest.Config{Users: []siptest.User{{Name: "x", Voicemail: &siptest.Voicemail{Greeting: []byte("hello")}}}}); err == nil {
		t.Error("a greeting was taken that is no WAV file")
	}
}

// A lab that is closed while somebody speaks into a mailbox, or listens to his.
func TestCloseWhileAtMailbox(t *testing.T) {
	for who, number := range map[string]string{"alice": "1002", "bob": "*86"} {
		bubble(t, func(t *testing.T) {
			l := start(t, withVoicemail(siptest.Voicemail{}))
			l.Deposit("bob", siptest.VoiceMessage{PCM: mediatest.Speech(0, rate)})
			l.caller(who, nil).call(number)
			wait(t, 2*time.Second)
			l.Close()
		})
	}
}
