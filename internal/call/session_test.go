package call

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	sipgo "github.com/emiago/sipgo/sip"

	"github.com/hoorn-phone/hoorn/internal/sipwire"
)

// wants makes a party ask for session timers.
func (p *party) wants(s SessionTimer) { p.timers.Session = s }

// watch notes what messages say of session timers, with the time since t=0 of
// those that begin or end something.
func (w *world) watch() *[]string {
	var log []string
	start := w.now
	w.lose = func(p *party, m sipgo.Message) bool {
		s := sipwire.Header(m, "Session-Expires")
		if least := sipwire.Header(m, "Min-SE"); least != "" {
			s = strings.TrimSpace(s + " Min-SE " + least)
		}
		if sipwire.HasToken(m, "Require", optionTimer) {
			s += " required"
		}
		if s != "" || describeMessage(m) == "BYE" {
			log = append(log, strings.TrimSpace(fmt.Sprintf("%v %s %s: %s", w.now.Sub(start), p.name, describeMessage(m), s)))
		}
		return false
	}
	return &log
}

// begin makes a call that is answered at once, at t=10ms.
func begin(t *testing.T, w *world, alice, bob *party) (a, b *Call) {
	t.Helper()
	a = alice.call(none)
	w.run(latency)
	if len(bob.incoming) == 0 {
		w.run(100 * time.Millisecond)
	}
	b = bob.incoming[len(bob.incoming)-1]
	b.Answer(w.now, none, func(time.Time, error) {})
	w.run(3 * latency)
	if a.State() != Established || b.State() != Established {
		t.Fatalf("states %v, %v; wire %q", a.State(), b.State(), w.wire)
	}
	return a, b
}

func expect(t *testing.T, what string, got, want []string) {
	t.Helper()
	if !slices.Equal(got, want) {
		t.Errorf("%s:\n\t%s\nwant:\n\t%s", what, strings.Join(got, "\n\t"), strings.Join(want, "\n\t"))
	}
}

// RFC 4028 §7.1, §7.2, §9 table 2: who asks for what, what is agreed, and who
// refreshes. The times are those of setSession.
func TestSessionTimer_RFC4028_9(t *testing.T) {
	half := SessionTimer{Expires: 1800 * time.Second}
	with := func(s SessionTimer, change func(*SessionTimer)) SessionTimer { change(&s); return s }
	ours := with(half, func(s *SessionTimer) { s.Refresher = Local })
	theirs := with(half, func(s *SessionTimer) { s.Refresher = Remote })
	for _, tt := range []struct {
		name       string
		alice, bob SessionTimer
		want       []string
		refresher  string // "" none
	}{
		{"the caller by default", half, half, []string{"0s alice INVITE: 1800", "10ms bob 200 INVITE: 1800;refresher=uac required"}, "alice"},
		{"the caller wants to", ours, ours, []string{"0s alice INVITE: 1800;refresher=uac", "10ms bob 200 INVITE: 1800;refresher=uac required"}, "alice"},
		{"the caller wants the callee to", theirs, theirs, []string{"0s alice INVITE: 1800;refresher=uas", "10ms bob 200 INVITE: 1800;refresher=uas"}, "bob"},
		{"the callee wants to", half, ours, []string{"0s alice INVITE: 1800", "10ms bob 200 INVITE: 1800;refresher=uas"}, "bob"},
		{"the callee does not know them", half, SessionTimer{Off: true}, []string{"0s alice INVITE: 1800"}, ""},
		{"the caller does not know them", SessionTimer{Off: true}, half, nil, ""},
		{"only the caller asks", half, SessionTimer{}, []string{"0s alice INVITE: 1800", "10ms bob 200 INVITE: 1800;refresher=uac required"}, "alice"},
		{"the callee wants it shorter", half, SessionTimer{Expires: 600 * time.Second}, []string{"0s alice INVITE: 1800", "10ms bob 200 INVITE: 600;refresher=uac required"}, "alice"},
		{"but not shorter than the caller bears", with(half, func(s *SessionTimer) { s.MinSE = 900 * time.Second }), SessionTimer{Expires: 600 * time.Second},
			[]string{"0s alice INVITE: 1800 Min-SE 900", "10ms bob 200 INVITE: 900;refresher=uac required"}, "alice"},
		{"the callee takes it shorter than he would ask", SessionTimer{Expires: 600 * time.Second}, half, []string{"0s alice INVITE: 600", "10ms bob 200 INVITE: 600;refresher=uac required"}, "alice"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			w, alice, bob := newWorld(t, true)
			alice.wants(tt.alice)
			bob.wants(tt.bob)
			log := w.watch()
			a, b := begin(t, w, alice, bob)
			expect(t, "session timers", *log, tt.want)
			got := ""
			for name, c := range map[string]*Call{"alice": a, "bob": b} {
				if c.session.interval > 0 && c.session.ours {
					got += name
				}
			}
			if got != tt.refresher || a.session.interval != b.session.interval {
				t.Errorf("refresher %q, want %q; %v, %v", got, tt.refresher, a.session.interval, b.session.interval)
			}
			a.Hangup(w.now)
			w.over(alice, bob)
		})
	}
}

// A caller who does not know session timers, and a proxy that does: the
// callee refreshes, and requires nothing (RFC 4028 §9).
func TestSessionTimerOfProxy(t *testing.T) {
	w, alice, bob := newWorld(t, true)
	bob.wants(SessionTimer{Expires: 1800 * time.Second, MinSE: 600 * time.Second})
	log := w.watch()
	alice.dial(none, sipgo.NewHeader("x", "100"), sipgo.NewHeader("Min-SE", "100")) // too small to refuse: nobody could enlarge it
	w.run(latency)
	bob.incoming[0].Answer(w.now, none, func(time.Time, error) {})
	w.run(3 * latency)
	expect(t, "session timers", *log, []string{"0s alice INVITE: Min-SE 100", "10ms bob 200 INVITE: 100;refresher=uas"})
	bob.incoming[0].Hangup(w.now)
	w.over(alice, bob)
}

// RFC 4028 §7.4, §10: a refresh at half the interval, by UPDATE without a
// description where the peer allows that, else by re-INVITE with the one last
// agreed, and again from then on.
func TestSessionRefresh_RFC4028_10(t *testing.T) {
	for _, tt := range []struct {
		name   string
		timer  SessionTimer // of the caller; the callee's is plain
		update bool
		who    string
		times  []time.Duration
	}{
		{"UPDATE by the caller", SessionTimer{Expires: 1800 * time.Second}, true, "alice", []time.Duration{900020 * time.Millisecond, 1800040 * time.Millisecond, 2700060 * time.Millisecond}},
		{"re-INVITE by the caller", SessionTimer{Expires: 1800 * time.Second}, false, "alice", []time.Duration{900020 * time.Millisecond, 1800040 * time.Millisecond, 2700060 * time.Millisecond}},
		{"UPDATE by the callee", SessionTimer{Expires: 600 * time.Second, Refresher: Remote}, true, "bob", []time.Duration{300010 * time.Millisecond, 600030 * time.Millisecond, 900050 * time.Millisecond}},
		{"re-INVITE by the callee", SessionTimer{Expires: 600 * time.Second, Refresher: Remote}, false, "bob", []time.Duration{300010 * time.Millisecond, 600030 * time.Millisecond, 900050 * time.Millisecond}},
		{"an odd interval", SessionTimer{Expires: 91 * time.Second}, true, "alice", []time.Duration{45520 * time.Millisecond, 91040 * time.Millisecond, 136560 * time.Millisecond}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			w, alice, bob := newWorld(t, true)
			alice.wants(tt.timer)
			bob.wants(SessionTimer{Expires: 1800 * time.Second})
			ma, mb := alice.negotiate(), bob.negotiate()
			if tt.update {
				alice.says, bob.says = "INVITE, UPDATE", "INVITE, UPDATE"
			}
			a, b := begin(t, w, alice, bob)
			ma.said()
			mb.said()
			var refreshes []time.Duration
			var bodies []string
			w.lose = func(p *party, m sipgo.Message) bool {
				req, ok := m.(*sipgo.Request)
				if !ok || req.Method == sipgo.ACK || req.Method == sipgo.BYE {
					return false
				}
				if want := map[bool]sipgo.RequestMethod{true: sipgo.UPDATE, false: sipgo.INVITE}[tt.update]; req.Method != want || p.name != tt.who {
					t.Errorf("%s %s, want %s by %s", p.name, req.Method, want, tt.who)
				}
				if se := sipwire.Header(req, "Session-Expires"); !strings.HasSuffix(se, ";refresher=uac") {
					t.Errorf("Session-Expires %q: who sends it refreshes (RFC 4028 §7.4)", se)
				}
				refreshes = append(refreshes, w.now.Sub(epoch))
				bodies = append(bodies, string(req.Body()))
				return false
			}
			w.run(tt.times[2] + time.Second)
			if !slices.Equal(refreshes, tt.times) {
				t.Errorf("refreshed at %v, want %v", refreshes, tt.times)
			}
			leg, other := a.active, mb
			if tt.who == "bob" {
				leg, other = b.active, ma
			}
			for _, body := range bodies {
				if want := map[bool]string{true: "", false: string(leg.media.Local())}[tt.update]; body != want {
					t.Errorf("the refresh has the body %q, want %q", body, want)
				}
			}
			if said := other.said(); tt.update && said != "" || !tt.update && !strings.HasPrefix(said, "answer sendrecv") {
				t.Errorf("the other's media: %q", said)
			}
			if a.State() != Established || b.State() != Established {
				t.Errorf("%v, %v", a.State(), b.State())
			}
			a.Hangup(w.now)
			w.over(alice, bob)
		})
	}
}

// RFC 4028 §10: the call is given up 32 s, or a third of the interval if that
// is less, before the session expires: by who waits for refreshes, and by who
// cannot get his through.
func TestSessionExpires_RFC4028_10(t *testing.T) {
	for _, tt := range []struct {
		interval time.Duration
		bye      time.Duration // after the 2xx
	}{{1800 * time.Second, 1768 * time.Second}, {96 * time.Second, 64 * time.Second}, {90 * time.Second, 60 * time.Second}} {
		for _, refresher := range []Side{Local, Remote} {
			t.Run(fmt.Sprint(tt.interval, refresher), func(t *testing.T) {
				w, alice, bob := newWorld(t, true)
				alice.wants(SessionTimer{Expires: tt.interval, Refresher: refresher})
				bob.wants(SessionTimer{Expires: tt.interval})
				alice.says, bob.says = "UPDATE", "UPDATE"
				a, b := begin(t, w, alice, bob)
				var bye time.Duration
				var reason string
				// The refresher is refused again and again, so that nobody
				// hears what would refresh.
				refuse := func(p *party) {
					p.script = func(now time.Time, m sipgo.Message) {
						if req, ok := m.(*sipgo.Request); ok && req.Method == sipgo.UPDATE {
							p.say(now, sipwire.ResponseTo(req, 503, "", ""))
							return
						}
						p.table.Receive(now, p.link, m)
					}
				}
				refuse(alice)
				refuse(bob)
				w.lose = func(p *party, m sipgo.Message) bool {
					if describeMessage(m) == "BYE" && bye == 0 {
						bye, reason = w.now.Sub(epoch), sipwire.Header(m, "Reason")
					}
					return false
				}
				w.run(tt.interval)
				// The callee's timer began with his 2xx, the caller's 10 ms
				// later when he had it.
				if want := tt.bye + latency; bye != want {
					t.Errorf("BYE at %v, want %v", bye, want)
				}
				if reason != `SIP;cause=408;text="Session timer expired"` {
					t.Errorf("Reason %s", reason)
				}
				if a.State() != Ended || b.State() != Ended || !errors.Is(b.End().Err, ErrExpired) {
					t.Errorf("%v, %v; %+v", a.State(), b.State(), b.End())
				}
				w.over(alice, bob)
			})
		}
	}
}

// A refresh that is refused is tried once more, halfway to the end, and not
// again and again; one that succeeds then is as good as the first (RFC 4028 §10).
func TestSessionRefreshRefused(t *testing.T) {
	w, alice, bob := newWorld(t, true)
	alice.wants(SessionTimer{Expires: 1800 * time.Second})
	bob.wants(SessionTimer{Expires: 1800 * time.Second})
	alice.says, bob.says = "UPDATE", "UPDATE"
	a, b := begin(t, w, alice, bob)
	var at []time.Duration
	refusals := 1
	bob.script = func(now time.Time, m sipgo.Message) {
		if req, ok := m.(*sipgo.Request); ok && req.Method == sipgo.UPDATE {
			at = append(at, now.Sub(epoch)-latency)
			if refusals--; refusals >= 0 {
				bob.say(now, sipwire.ResponseTo(req, 503, "", ""))
				return
			}
		}
		bob.table.Receive(now, bob.link, m)
	}
	w.run(1800 * time.Second)
	// At 900 s; then, 20 ms later, halfway to 1768.02 s.
	if want := []time.Duration{900020 * time.Millisecond, 1334030 * time.Millisecond}; !slices.Equal(at, want) {
		t.Errorf("refreshed at %v, want %v", at, want)
	}
	if a.State() != Established || b.State() != Established {
		t.Errorf("%v, %v", a.State(), b.State())
	}
	at, refusals = nil, 100
	w.run(1800 * time.Second)
	if len(at) != 2 || a.State() != Ended {
		t.Errorf("refreshed at %v, %v", at, a.State())
	}
	w.over(alice, bob)
}

// RFC 4028 §10, RFC 3261 §12.2.1.2: a refresh that finds no dialog, or nobody,
// ends the call at once.
func TestSessionRefreshGone(t *testing.T) {
	for _, status := range []int{481, 408, 0} {
		w, alice, bob := newWorld(t, true)
		alice.wants(SessionTimer{Expires: 1800 * time.Second})
		bob.wants(SessionTimer{Expires: 1800 * time.Second})
		alice.says, bob.says = "UPDATE", "UPDATE"
		a, b := begin(t, w, alice, bob)
		answerer(bob, nil, func(now time.Time, req *sipgo.Request) {
			if req.Method == sipgo.UPDATE && status != 0 {
				bob.say(now, sipwire.ResponseTo(req, status, "", ""))
			}
		})
		w.run(935 * time.Second)
		if a.State() != Ended || a.End().By != Network || a.End().Err == nil {
			t.Errorf("%d: %v, %+v", status, a.State(), a.End())
		}
		b.Abort(w.now, errNo)
		w.over(alice, bob)
	}
}

// A peer that allows UPDATE and refuses it gets a re-INVITE.
func TestSessionRefreshWithoutUpdate(t *testing.T) {
	for _, status := range []int{405, 501} {
		w, alice, bob := newWorld(t, true)
		alice.wants(SessionTimer{Expires: 1800 * time.Second})
		bob.wants(SessionTimer{Expires: 1800 * time.Second})
		alice.says, bob.says = "UPDATE", "UPDATE"
		alice.negotiate()
		bob.negotiate()
		a, _ := begin(t, w, alice, bob)
		bob.script = func(now time.Time, m sipgo.Message) {
			if req, ok := m.(*sipgo.Request); ok && req.Method == sipgo.UPDATE {
				bob.say(now, sipwire.ResponseTo(req, status, "", ""))
				return
			}
			bob.table.Receive(now, bob.link, m)
		}
		w.wire = nil
		w.run(901 * time.Second)
		w.check("alice UPDATE", fmt.Sprint("bob ", status, " UPDATE"), "alice INVITE", "bob 200 INVITE", "alice ACK")
		a.Hangup(w.now)
		w.over(alice, bob)
	}
}

// RFC 6337 §5.3: a re-INVITE that refreshes a session says what its sender wants,
// and not again what the peer's hold let him answer.
func TestSessionRefreshUnderHold_RFC6337_5_3(t *testing.T) {
	for name, holds := range map[string]struct {
		mine, theirs bool
		want         string
	}{
		"nobody": {false, false, ""}, // the description last agreed, as it was
		"they":   {false, true, "offer sendrecv, take sendonly"},
		"both":   {true, true, "offer sendonly, take inactive"},
	} {
		t.Run(name, func(t *testing.T) {
			w, alice, bob := newWorld(t, true)
			alice.wants(SessionTimer{Expires: 1800 * time.Second})
			bob.wants(SessionTimer{Expires: 1800 * time.Second})
			m := alice.negotiate()
			bob.negotiate()
			a, b := begin(t, w, alice, bob)
			if holds.mine {
				a.holding.wish, a.holding.used = true, true
			}
			if holds.theirs {
				if err := bob.holds(b, true); err != nil {
					t.Fatal(err)
				}
			}
			before := [2]Hold{a.Held(), b.Held()}
			m.said()
			w.wire = nil
			w.run(901 * time.Second)
			w.check("alice INVITE", "bob 200 INVITE", "alice ACK")
			if got := m.said(); got != holds.want {
				t.Errorf("%q, want %q", got, holds.want)
			}
			if after := [2]Hold{a.Held(), b.Held()}; after != before {
				t.Errorf("held %+v, before %+v", after, before)
			}
			a.Hangup(w.now)
			w.over(alice, bob)
		})
	}
}

// RFC 4028 §7.3: 422 to the INVITE makes another one with the interval that is
// asked for, in the same call, as often as the servers on the way want it to
// grow; one that does not grow is a refusal.
func TestSessionIntervalTooSmall_RFC4028_7_3(t *testing.T) {
	w, alice, bob := newWorld(t, true)
	alice.wants(SessionTimer{Expires: 120 * time.Second})
	var invites []*sipgo.Request
	grow := []string{"300", "1800"}
	answerer(bob, nil, func(now time.Time, req *sipgo.Request) {
		if req.Method != sipgo.INVITE {
			return
		}
		invites = append(invites, req)
		if len(grow) == 0 {
			r := reply(req, 200, "x", "answer")
			r.AppendHeader(sipgo.NewHeader("Session-Expires", "1800;refresher=uac"))
			bob.say(now, r)
			return
		}
		r := sipwire.ResponseTo(req, 422, "", "x")
		r.AppendHeader(sipgo.NewHeader("Min-SE", grow[0]))
		grow = grow[1:]
		bob.say(now, reply(req, 180, "early", ""))
		bob.say(now, r)
	})
	a := alice.call(none)
	w.run(time.Second)
	if a.State() != Established || len(a.legs) != 1 || a.session.interval != 1800*time.Second || !a.session.ours {
		t.Fatalf("%v, %d dialogs, %+v", a.State(), len(a.legs), a.session)
	}
	first := invites[0]
	for i, req := range invites {
		if want := []string{"120", "300", "1800"}[i]; sipwire.Header(req, "Session-Expires") != want {
			t.Errorf("INVITE %d asks for %s, want %s", i, sipwire.Header(req, "Session-Expires"), want)
		}
		if want := []string{"", "300", "1800"}[i]; sipwire.Header(req, "Min-SE") != want {
			t.Errorf("INVITE %d: Min-SE %s, want %s", i, sipwire.Header(req, "Min-SE"), want)
		}
		// RFC 3261 §8.1.3.5: the same call, a new transaction.
		if req.CallID().Value() != first.CallID().Value() || sipwire.FromTag(req) != sipwire.FromTag(first) || sipwire.ToTag(req) != "" ||
			req.CSeq().SeqNo != first.CSeq().SeqNo+uint32(i) || string(req.Body()) != string(first.Body()) {
			t.Errorf("INVITE %d:\n%s", i, req)
		}
		if i > 0 && sipwire.TopBranch(req) == sipwire.TopBranch(invites[i-1]) {
			t.Errorf("INVITE %d has the branch of the one before", i)
		}
	}
	a.Hangup(w.now)
	w.over(alice)

	for name, least := range map[string]string{"the same": "120", "less": "90", "none": "", "nonsense": "soon", "for ever": "99999999"} {
		w, alice, bob := newWorld(t, true)
		alice.wants(SessionTimer{Expires: 120 * time.Second})
		answerer(bob, nil, func(now time.Time, req *sipgo.Request) {
			if req.Method == sipgo.INVITE {
				r := sipwire.ResponseTo(req, 422, "", "x")
				if least != "" {
					r.AppendHeader(sipgo.NewHeader("Min-SE", least))
				}
				bob.say(now, r)
			}
		})
		a := alice.call(none)
		w.run(time.Second)
		if a.State() != Ended || a.End().Status != 422 {
			t.Errorf("%s: %v, %+v", name, a.State(), a.End())
		}
		w.over(alice)
	}
}

// A server that is never content is given up.
func TestSessionIntervalGrows(t *testing.T) {
	w, alice, bob := newWorld(t, true)
	alice.wants(SessionTimer{Expires: 120 * time.Second})
	n := 0
	answerer(bob, nil, func(now time.Time, req *sipgo.Request) {
		if req.Method == sipgo.INVITE {
			n++
			r := sipwire.ResponseTo(req, 422, "", "x")
			r.AppendHeader(sipgo.NewHeader("Min-SE", fmt.Sprint(200*n)))
			bob.say(now, r)
		}
	})
	a := alice.call(none)
	w.run(time.Second)
	if n != maxGlare+1 || a.State() != Ended || a.End().Status != 422 {
		t.Errorf("%d INVITEs, %v, %+v", n, a.State(), a.End())
	}
	w.over(alice)
}

// Hung up while the INVITE is being repeated: nothing of the call is left.
func TestSessionIntervalTooSmallAndHangup(t *testing.T) {
	w, alice, bob := newWorld(t, true)
	alice.wants(SessionTimer{Expires: 120 * time.Second})
	bob.wants(SessionTimer{Expires: 1800 * time.Second, MinSE: 600 * time.Second})
	a := alice.call(none)
	w.run(3 * latency) // the 422 came, the other INVITE is there
	a.Hangup(w.now)
	w.run(time.Second)
	if a.State() != Ended || a.End().By != Local {
		t.Errorf("%v, %+v", a.State(), a.End())
	}
	w.over(alice, bob)
	if !slices.Contains(w.wire, "bob 422 INVITE") || !slices.Contains(w.wire, "bob 487 INVITE") {
		t.Errorf("wire %q", w.wire)
	}
}

// RFC 4028 §9: what is too small for us gets 422 with our least, before the
// call and within it; the dialog stays as it is.
func TestSessionIntervalRefused_RFC4028_9(t *testing.T) {
	w, alice, bob := newWorld(t, true)
	bob.wants(SessionTimer{Expires: 1800 * time.Second, MinSE: 600 * time.Second})
	log := w.watch()
	alice.dial(none, sipgo.NewHeader("Supported", optionTimer), sipgo.NewHeader("Session-Expires", "599"))
	w.run(time.Second)
	expect(t, "INVITE", *log, []string{"0s alice INVITE: 599", "10ms bob 422 INVITE: Min-SE 600"})
	if len(bob.incoming) != 0 {
		t.Error("the call was announced")
	}
	alice.wants(SessionTimer{Expires: 600 * time.Second})
	a, b := begin(t, w, alice, bob)
	*log = nil
	for _, method := range []sipgo.RequestMethod{sipgo.INVITE, sipgo.UPDATE} {
		req := a.active.request(method)
		req.AppendHeader(sipgo.NewHeader("Session-Expires", "100"))
		setSDP(req, []byte("offer"))
		alice.via(req)
		var status []string
		alice.answers(func(r *sipgo.Response) {
			status = append(status, fmt.Sprint(r.StatusCode, sipwire.Header(r, "Min-SE")))
		})
		alice.say(w.now, req)
		w.run(100 * time.Millisecond)
		if !slices.Equal(slices.Compact(status), []string{"422600"}) {
			t.Errorf("%s: %q", method, status)
		}
		w.run(40 * time.Second)
		alice.script = nil
	}
	if b.session.interval != 600*time.Second || b.State() != Established {
		t.Errorf("%v, %v", b.session.interval, b.State())
	}
	a.Hangup(w.now)
	w.over(alice, bob)
}

// A refresh whose interval has become too small for somebody on the way is
// repeated with a larger one (RFC 4028 §7.4).
func TestSessionRefreshTooSmall(t *testing.T) {
	w, alice, bob := newWorld(t, true)
	alice.wants(SessionTimer{Expires: 600 * time.Second})
	bob.wants(SessionTimer{Expires: 1800 * time.Second})
	alice.says, bob.says = "UPDATE", "UPDATE"
	a, b := begin(t, w, alice, bob)
	b.session.cfg.MinSE = 1000 * time.Second
	log := w.watch()
	w.run(300 * time.Second)
	expect(t, "refresh", *log, []string{
		"4m59.98s alice UPDATE: 600;refresher=uac", "4m59.99s bob 422 UPDATE: Min-SE 1000",
		"5m0s alice UPDATE: 1000;refresher=uac Min-SE 1000",
	})
	w.run(time.Second)
	if a.session.interval != 1000*time.Second || b.session.interval != 1000*time.Second {
		t.Errorf("%v, %v", a.session.interval, b.session.interval)
	}
	a.Hangup(w.now)
	w.over(alice, bob)
}

// Other offers refresh as well, and a 2xx without Session-Expires turns the
// timer off (RFC 4028 §7.2).
func TestSessionTimerTurnedOff_RFC4028_7_2(t *testing.T) {
	w, alice, bob := newWorld(t, true)
	alice.wants(SessionTimer{Expires: 600 * time.Second})
	bob.wants(SessionTimer{Expires: 600 * time.Second})
	a, b := begin(t, w, alice, bob)
	w.run(200 * time.Second)
	if err := bob.asked(func(now time.Time, done func(time.Time, error)) { b.Reoffer(now, none, done) }); err != nil {
		t.Fatal(err)
	}
	// bob's 2xx was at 200.14 s or so: alice is the refresher still.
	if !a.session.ours || b.session.ours || a.session.until.Before(epoch.Add(760*time.Second)) {
		t.Errorf("%+v, %+v", a.session, b.session)
	}
	b.session.cfg = SessionTimer{Off: true}
	if err := alice.asked(func(now time.Time, done func(time.Time, error)) { a.Reoffer(now, none, done) }); err != nil {
		t.Fatal(err)
	}
	b.session.stop(b)
	if a.session.interval != 0 || a.session.timer.Active() {
		t.Errorf("%+v", a.session)
	}
	w.run(time.Hour)
	if a.State() != Established || b.State() != Established {
		t.Errorf("%v, %v", a.State(), b.State())
	}
	a.Hangup(w.now)
	w.over(alice, bob)
}

// What messages say of session timers.
func FuzzSessionWish(f *testing.F) {
	for _, s := range []string{"1800;refresher=uac", "90", "", "4294967295;refresher=UAS;x=\"", ";refresher=uas", "-1"} {
		f.Add(s, s)
	}
	f.Fuzz(func(t *testing.T, expires, least string) {
		req := sipgo.NewRequest(sipgo.INVITE, sipgo.Uri{Scheme: "sip", Host: "x"})
		req.AppendHeader(sipgo.NewHeader("Session-Expires", expires))
		req.AppendHeader(sipgo.NewHeader("Min-SE", least))
		w := sessionWishOf(req)
		if w.expires < 0 || w.expires > mostSE || w.minSE < 0 || w.minSE > mostSE {
			t.Errorf("%q, %q: %+v", expires, least, w)
		}
	})
}
