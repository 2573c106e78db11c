package siptest_test

import (
	"context"
	"errors"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hoorn-phone/hoorn/internal/memnet"
	"github.com/hoorn-phone/hoorn/sip"
	"github.com/hoorn-phone/hoorn/sip/siptest"
)

// fault finds what the transcript says of messages that begin like this.
func (l *lab) fault(start string) []string {
	var out []string
	for _, e := range l.Transcript().Entries {
		if e.Fault != "" && strings.HasPrefix(string(e.Data), start) {
			out = append(out, e.Fault)
		}
	}
	return out
}

// Lost messages are sent again over UDP, whoever sent them.
func TestDrop(t *testing.T) {
	for _, c := range []struct {
		name  string
		fault siptest.Fault
		again string // the line that then comes twice, or as often as stated
		times int
	}{
		{"INVITE of the caller", siptest.Fault{Match: siptest.Match{Method: "INVITE", User: "alice"}, Drop: true}, "alice> INVITE", 2},
		{"INVITE of the lab", siptest.Fault{Match: siptest.Match{Method: "INVITE", Direction: siptest.ToDevice}, Drop: true}, "bob< INVITE", 2},
		{"two INVITEs of the lab", siptest.Fault{Match: siptest.Match{Method: "INVITE", Direction: siptest.ToDevice}, Count: 2, Drop: true}, "bob< INVITE", 3},
		{"200 of the callee", siptest.Fault{Match: siptest.Match{Method: "INVITE", Status: 200, Direction: siptest.FromDevice}, Drop: true}, "bob> 200 INVITE", 2},
		{"200 of the lab", siptest.Fault{Match: siptest.Match{Method: "INVITE", Status: 2, Direction: siptest.ToDevice}, Drop: true}, "alice< 200 INVITE", 2},
		{"ACK of the caller", siptest.Fault{Match: siptest.Match{Method: "ACK", User: "alice"}, Drop: true}, "alice< 200 INVITE", 2},
		{"ACK of the lab", siptest.Fault{Match: siptest.Match{Method: "ACK", User: "bob"}, Drop: true}, "bob> 200 INVITE", 2},
		{"BYE of the lab", siptest.Fault{Match: siptest.Match{Method: "BYE", User: "bob"}, Drop: true}, "bob< BYE", 2},
		{"the second response to anything", siptest.Fault{Match: siptest.Match{Status: siptest.AnyStatus, User: "bob"}, First: 2, Drop: true}, "bob> 200 INVITE", 2},
	} {
		t.Run(c.name, func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				l := start(t, nil)
				alice, bob := l.phone("alice", over(l, sip.UDP)), l.phone("bob", over(l, sip.UDP))
				l.ClearTranscript()
				f := l.Inject(c.fault)
				a, b := talk(t, alice, bob, "bob")
				wait(t, time.Second)
				a.Hangup(t.Context())
				ended(t, b, sip.Remote)
				l.idle()
				hits := max(1, c.fault.Count)
				if f.Hits() != hits {
					t.Errorf("%d hits, want %d", f.Hits(), hits)
				}
				if n := l.count(c.again); n != c.times {
					t.Errorf("%q came %d times, want %d:\n%s", c.again, n, c.times, strings.Join(l.lines(""), "\n"))
				}
				if got := len(l.fault("")); got != hits {
					t.Errorf("the transcript shows %d lost messages, want %d", got, hits)
				}
			})
		})
	}
}

// Calls through a lossy network: whatever becomes of each, nothing is left.
func TestLossyNetwork(t *testing.T) {
	for seed := range uint64(8) {
		bubble(t, func(t *testing.T) {
			l := start(t, nil)
			alice := l.phone("alice", over(l, sip.UDP))
			bobs := []*phone{l.phone("bob", over(l, sip.UDP)), l.phone("bob", over(l, sip.UDP))}
			l.net.Seed(seed)
			l.net.ImpairAll(memnet.Impairment{Latency: 10 * time.Millisecond, Jitter: 300 * time.Millisecond, Loss: 0.25, Duplicate: 0.1})
			for i, b := range bobs {
				go func() {
					for {
						c, err := b.Accept(t.Context())
						if err != nil {
							return
						}
						if i == 1 {
							go c.Reject(t.Context(), 486)
							continue
						}
						go c.Answer(t.Context(), nil)
					}
				}()
			}
			talked := 0
			for range 10 {
				a := alice.call("bob")
				ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
				if a.Answered(ctx) == nil {
					talked++
					wait(t, 2*time.Second)
				}
				cancel()
				a.Hangup(t.Context())
			}
			l.net.ImpairAll(memnet.Impairment{})
			if talked < 5 {
				t.Errorf("seed %d: %d of 10 calls were answered", seed, talked)
			}
			wait(t, 5*time.Minute)
			for _, p := range append(bobs, alice) {
				p.Close()
			}
			l.idle()
			if legs, transactions, timers := l.Left(); legs+transactions+timers != 0 {
				t.Errorf("seed %d: %d dialogs, %d transactions and %d timers are left", seed, legs, transactions, timers)
			}
		})
	}
}

func TestDelay(t *testing.T) {
	bubble(t, func(t *testing.T) {
		l := start(t, nil)
		alice, bob := l.phone("alice"), l.phone("bob")
		for _, dir := range []siptest.Direction{siptest.FromDevice, siptest.ToDevice} {
			f := l.Inject(siptest.Fault{Match: siptest.Match{Method: "INVITE", Status: 180, Direction: dir}, Delay: 7 * time.Second})
			began := time.Now()
			a := alice.call("bob")
			b := bob.accept()
			b.Ring(t.Context())
			for ev := range a.Events(t.Context()) {
				if ev.Kind == sip.Progress {
					break
				}
			}
			if took := time.Since(began); took != 7*time.Second || f.Hits() != 1 {
				t.Errorf("%v: rang after %v, %d hits", dir, took, f.Hits())
			}
			b.Reject(t.Context(), 486)
			ended(t, a, sip.Remote)
		}
		if got := l.fault("SIP/2.0 180"); len(got) != 2 || got[0] != "delayed 7s" || got[1] != "delayed 7s" {
			t.Errorf("the transcript says %q", got)
		}
		l.idle()
	})
}

func TestDuplicate(t *testing.T) {
	bubble(t, func(t *testing.T) {
		l := start(t, nil)
		alice, bob := l.phone("alice", over(l, sip.UDP)), l.phone("bob", over(l, sip.UDP))
		l.ClearTranscript()
		for _, dir := range []siptest.Direction{siptest.FromDevice, siptest.ToDevice} {
			l.Inject(siptest.Fault{Match: siptest.Match{Status: siptest.AnyMessage, Direction: dir}, Count: -1, Copies: 2})
		}
		a, b := talk(t, alice, bob, "bob")
		a.Hangup(t.Context())
		ended(t, b, sip.Remote)
		l.idle()
		if n := l.count("bob< INVITE"); n != 3 {
			t.Errorf("%d INVITEs to bob, want three", n)
		}
		if l.fault("INVITE")[0] != "repeated 2×" {
			t.Errorf("the transcript says %q", l.fault("INVITE"))
		}
	})
}

// 503 with Retry-After, for the third REGISTER alone.
func TestAnswer(t *testing.T) {
	bubble(t, func(t *testing.T) {
		l := start(t, func(c *siptest.Config) { c.Registrar.MaxExpires = 100 * time.Second })
		f := l.Inject(siptest.Fault{Match: siptest.Match{Method: "REGISTER", User: "alice"}, First: 3, Answer: 503, RetryAfter: 20 * time.Second})
		alice := l.phone("alice")
		wait(t, 99*time.Second)
		if f.Hits() != 1 {
			t.Fatalf("%d hits", f.Hits())
		}
		if m := l.messages("alice", "SIP/2.0 503", true)[0]; !strings.Contains(m, "\r\nRetry-After:20\r\n") {
			t.Errorf("the 503:\n%s", m)
		}
		wait(t, 100*time.Second)
		if !alice.reg.Info().Registered {
			t.Error("not registered again")
		}
	})
}

// Faults can be removed, one or all.
func TestMend(t *testing.T) {
	bubble(t, func(t *testing.T) {
		l := start(t, nil)
		alice := l.phone("alice")
		all := siptest.Match{Method: "INVITE"}
		one := l.Inject(siptest.Fault{Match: all, Count: -1, Answer: 500})
		l.Inject(siptest.Fault{Match: all, Count: -1, Answer: 502})
		for _, want := range []int{500, 502, 480} {
			_, err := alice.Dial(t.Context(), "carol", nil)
			var se *sip.StatusError
			if !errors.As(err, &se) || se.Code != want {
				t.Errorf("error %v, want %d", err, want)
			}
			if want == 500 {
				one.Remove()
			} else {
				l.Mend()
			}
		}
	})
}

// Connections that end with and without a word: the phone finds out at once,
// or by its keep-alive, and is back soon; and its call goes on.
func TestConnections(t *testing.T) {
	for _, c := range []struct {
		name   string
		end    func(l *lab) int
		within time.Duration
	}{
		{"Disconnect", func(l *lab) int { return l.Disconnect("bob") }, 90 * time.Second},
		{"Disconnect all", func(l *lab) int { return l.Disconnect("") - 1 }, 90 * time.Second},
		{"Cut", func(l *lab) int { return l.Cut("bob") }, 5 * time.Minute},
		{"Fault.Close", func(l *lab) int {
			l.Inject(siptest.Fault{Match: siptest.Match{Method: "OPTIONS", User: "bob"}, Close: true})
			return 1
		}, 90 * time.Second},
		{"Fault.Cut", func(l *lab) int {
			l.Inject(siptest.Fault{Match: siptest.Match{Method: "OPTIONS", User: "bob"}, Cut: true})
			return 1
		}, 5 * time.Minute},
	} {
		t.Run(c.name, func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				l := start(t, nil)
				alice, bob := l.phone("alice"), l.phone("bob")
				a, b := talk(t, alice, bob, "bob")
				wait(t, time.Second) // the last ACK is through
				before := l.Devices("bob")[0].Remote
				if n := c.end(l); n != 1 {
					t.Errorf("%d connections", n)
				}
				if strings.HasPrefix(c.name, "Fault") {
					go bob.Options(t.Context(), "")
				}
				wait(t, c.within)
				after := l.Devices("bob")
				if len(after) != 1 || after[0].Remote == before || !after[0].Reachable {
					t.Fatalf("devices %+v, before at %v", after, before)
				}
				// The hang-up finds its way over the new connection.
				a.Hangup(t.Context())
				ended(t, b, sip.Remote)
				l.idle()
			})
		})
	}
}

// A crash: without registrations phones come back by themselves; with them
// those on UDP are reached at once.
func TestRestart(t *testing.T) {
	for _, keep := range []bool{true, false} {
		for _, transport := range []sip.Transport{sip.TLS, sip.UDP} {
			t.Run(string(transport)+map[bool]string{true: " kept", false: " forgotten"}[keep], func(t *testing.T) {
				bubble(t, func(t *testing.T) {
					l := start(t, func(c *siptest.Config) { c.Registrar.MaxExpires = 5 * time.Minute })
					alice, bob := l.phone("alice", over(l, transport)), l.phone("bob", over(l, transport))
					a, b := talk(t, alice, bob, "bob")
					addr := l.Addr(transport)
					l.Kill()
					if l.Calls() != 0 {
						t.Error("calls survive a crash")
					}
					wait(t, 10*time.Second)
					if err := l.Restart(keep); err != nil {
						t.Fatal(err)
					}
					if l.Addr(transport) != addr {
						t.Errorf("address %v, was %v", l.Addr(transport), addr)
					}
					if n := len(l.Devices("bob")); keep != (n == 1) {
						t.Errorf("%d devices right after, kept: %v", n, keep)
					}
					if !keep || transport != sip.UDP {
						wait(t, 10*time.Minute)
					}
					// What the lab has forgotten it answers with 481.
					a.Hangup(t.Context())
					b.Hangup(t.Context())
					a, b = talk(t, alice, bob, "bob")
					a.Hangup(t.Context())
					ended(t, b, sip.Remote)
					l.idle()
				})
			})
		}
	}
}

// While it is down the lab says so; after Close for good.
func TestDown(t *testing.T) {
	bubble(t, func(t *testing.T) {
		l := start(t, nil)
		l.Kill()
		l.Kill()
		cfg, _ := l.config("alice")
		ua, err := sip.New(cfg)
		if err != nil {
			t.Fatal(err)
		}
		var dial *sip.DialError
		if _, err := ua.Register(t.Context()); !errors.As(err, &dial) {
			t.Errorf("registered at a lab that is down: %v", err)
		}
		ua.Close()
		l.Close()
		if err := l.Restart(true); !errors.Is(err, siptest.ErrClosed) {
			t.Errorf("Restart after Close: %v", err)
		}
		l.Close()
		synctest.Wait()
	})
}

// The transcript is bounded.
func TestTranscriptBounds(t *testing.T) {
	bubble(t, func(t *testing.T) {
		l := start(t, func(c *siptest.Config) { c.TranscriptSize = 5 })
		l.phone("alice")
		l.phone("bob")
		tr := l.Transcript()
		if len(tr.Entries) != 5 || tr.Missing != 3 {
			t.Errorf("%d entries, %d missing; want 5 of 8", len(tr.Entries), tr.Missing)
		}
		none := start(t, func(c *siptest.Config) { c.TranscriptSize = -1 })
		none.phone("alice")
		if n := len(none.Transcript().Entries); n != 0 {
			t.Errorf("%d entries, want none", n)
		}
	})
}
