package flow

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"testing"
	"time"

	"github.com/hoorn-phone/hoorn/internal/timerq"
	"github.com/hoorn-phone/hoorn/internal/timerqtest"
)

// rig runs a KeepAlive in time of its own and keeps a log of what it does,
// each line with the seconds since the start.
type rig struct {
	q          timerq.Queue
	start, now time.Time
	k          *KeepAlive
	log        []string
	err        error
	ids        byte
	rand       float64
	answer     func() // called on each keep-alive sent
}

func newRig(cfg Config) *rig {
	r := &rig{start: time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)}
	r.now = r.start
	cfg.Rand = func() float64 { return r.rand }
	cfg.TxID = func() [12]byte { r.ids++; return [12]byte{r.ids} }
	r.k = New(&r.q, cfg, r)
	return r
}

func (r *rig) note(now time.Time, format string, args ...any) {
	r.log = append(r.log, fmt.Sprintf("%g ", now.Sub(r.start).Seconds())+fmt.Sprintf(format, args...))
	if r.answer != nil {
		r.answer()
	}
}

func (r *rig) SendPing(now time.Time)              { r.note(now, "ping") }
func (r *rig) SendSTUN(now time.Time, id [12]byte) { r.note(now, "stun %d", id[0]) }
func (r *rig) FlowFailed(now time.Time, err error) { r.err = err; r.note(now, "failed") }
func (r *rig) pong()                               { r.k.Pong(r.now) }
func (r *rig) mapped(addr string) {
	r.k.STUN(r.now, [12]byte{r.ids}, netip.MustParseAddrPort(addr), nil)
}
func (r *rig) expect(t *testing.T, want ...string) {
	t.Helper()
	if !slices.Equal(r.log, want) {
		t.Errorf("got  %q\nwant %q", r.log, want)
	}
	r.log = nil
}

// run lets time pass until the given second.
func (r *rig) run(seconds float64) {
	timerqtest.Run(&r.q, &r.now, r.start.Add(time.Duration(seconds*float64(time.Second))))
}

func isTimeout(err error) bool {
	var ne net.Error
	return errors.As(err, &ne) && ne.Timeout()
}

// RFC 5626 §4.4.1: the interval without Flow-Timer is random between 95 and
// 120 s; with it between 80 and 100 percent of it. §4.4.2: over UDP 24 to 29 s.
// RFC 6223 §5: a keep value has the meaning of Flow-Timer.
func TestInterval_RFC5626_4_4(t *testing.T) {
	for _, c := range []struct {
		name      string
		reliable  bool
		terms     Terms
		low, high float64
	}{
		{"stream", true, Terms{Answered: true}, 95, 120},
		{"stream, nothing negotiated", true, Terms{}, 95, 120},
		{"stream, Flow-Timer 200", true, Terms{true, 200 * time.Second}, 160, 200},
		{"stream, Flow-Timer 20", true, Terms{true, 20 * time.Second}, 16, 20},
		{"stream, absurd Flow-Timer", true, Terms{true, 1}, 0.8, 1},
		{"UDP", false, Terms{Answered: true}, 24, 29},
		{"UDP, nothing negotiated", false, Terms{}, 24, 29},
		{"UDP, keep=15", false, Terms{true, 15 * time.Second}, 12, 15},
		{"UDP, Flow-Timer longer than a NAT remembers", false, Terms{true, 200 * time.Second}, 24, 29},
	} {
		for _, rand := range []float64{0, 0.5, 1} {
			r := newRig(Config{Reliable: c.reliable})
			r.rand = rand
			r.k.Start(r.now, c.terms)
			at, _ := r.q.Next()
			if got, want := at.Sub(r.start).Seconds(), c.low+rand*(c.high-c.low); got != want {
				t.Errorf("%s: next keep-alive after %v s, want %v", c.name, got, want)
			}
		}
	}
}

func TestPingAnswered_RFC5626_4_4_1(t *testing.T) {
	r := newRig(Config{Reliable: true})
	r.answer = r.pong
	r.k.Start(r.now, Terms{Answered: true})
	r.run(300)
	r.expect(t, "95 ping", "190 ping", "285 ping")
}

// RFC 5626 §4.4.1: no pong within 10 s means that the flow has failed.
func TestPongMissing_RFC5626_4_4_1(t *testing.T) {
	r := newRig(Config{Reliable: true})
	r.k.Start(r.now, Terms{Answered: true})
	r.run(104.9)
	r.expect(t, "95 ping")
	r.run(1000)
	r.expect(t, "105 failed")
	var te *TimeoutError
	if !errors.As(r.err, &te) || te.After != 10*time.Second || !isTimeout(r.err) {
		t.Errorf("error %v", r.err)
	}
	if r.q.Len() != 0 {
		t.Error("timers left behind")
	}
	r.k.Pong(r.now) // too late, and harmless
}

func TestPongInTime_RFC5626_4_4_1(t *testing.T) {
	r := newRig(Config{Reliable: true})
	r.k.Start(r.now, Terms{Answered: true})
	r.run(104.999)
	r.pong()
	r.run(199)
	r.expect(t, "95 ping", "190 ping")
}

// Without outbound nobody has to answer.
func TestPingUnanswered(t *testing.T) {
	for _, reliable := range []bool{true, false} {
		r := newRig(Config{Reliable: reliable})
		r.k.Start(r.now, Terms{})
		if r.run(200); reliable {
			r.expect(t, "95 ping", "190 ping")
		} else {
			r.expect(t, "24 ping", "48 ping", "72 ping", "96 ping", "120 ping", "144 ping", "168 ping", "192 ping")
		}
	}
}

// A recommendation shorter than an answer may take: one ping is awaited at a
// time, and its answer still has 10 s.
func TestShortFlowTimer(t *testing.T) {
	r := newRig(Config{Reliable: true})
	r.k.Start(r.now, Terms{true, 5 * time.Second})
	r.run(13.9)
	r.expect(t, "4 ping")
	r.pong()
	r.run(100)
	r.expect(t, "16 ping", "26 failed")
}

// RFC 5389 §7.2.1: with RTO 500 ms requests leave at 0, 500, 1500, 3500, 7500,
// 15500 and 31500 ms, and the transaction has failed at 39500 ms. RFC 5626
// §4.4.2: that fails the flow. Keep-alives due in between are not sent.
func TestSTUNTimeout_RFC5389_7_2_1(t *testing.T) {
	r := newRig(Config{})
	r.k.Start(r.now, Terms{Answered: true})
	r.run(1000)
	r.expect(t, "24 stun 1", "24.5 stun 1", "25.5 stun 1", "27.5 stun 1", "31.5 stun 1", "39.5 stun 1", "55.5 stun 1", "63.5 failed")
	if !isTimeout(r.err) || r.q.Len() != 0 {
		t.Errorf("error %v, %d timers", r.err, r.q.Len())
	}
}

func TestSTUNFewerRequests(t *testing.T) {
	r := newRig(Config{Requests: 4, RTO: time.Second})
	r.k.Start(r.now, Terms{Answered: true})
	r.run(1000)
	r.expect(t, "24 stun 1", "25 stun 1", "27 stun 1", "31 stun 1", "47 failed")
}

func TestSTUNAnswered_RFC5626_4_4_2(t *testing.T) {
	r := newRig(Config{})
	r.k.Start(r.now, Terms{Answered: true})
	r.run(25)
	r.mapped("192.0.2.1:4000")
	r.k.STUN(r.now, [12]byte{9}, netip.MustParseAddrPort("192.0.2.9:9"), nil) // another's
	r.run(48)
	r.mapped("192.0.2.1:4000")
	r.mapped("192.0.2.9:9") // answered already: a retransmission's answer may be anybody's
	r.run(71)
	r.expect(t, "24 stun 1", "24.5 stun 1", "48 stun 2")
	if m := r.k.Mapped(); m.String() != "192.0.2.1:4000" {
		t.Errorf("mapped %v", m)
	}
}

// RFC 5626 §4.4.2: a changed mapped address is a failure of the flow.
func TestMappedChanged_RFC5626_4_4_2(t *testing.T) {
	r := newRig(Config{})
	r.k.Start(r.now, Terms{Answered: true})
	r.run(24)
	r.mapped("192.0.2.1:4000")
	r.run(48)
	r.mapped("192.0.2.1:4001")
	r.run(1000)
	r.expect(t, "24 stun 1", "48 stun 2", "48 failed")
	var me *MappedError
	if !errors.As(r.err, &me) || me.Was.Port() != 4000 || me.Is.Port() != 4001 {
		t.Errorf("error %v", r.err)
	}
}

// RFC 5626 §4.4.2: so is an error response.
func TestSTUNRefused_RFC5626_4_4_2(t *testing.T) {
	r := newRig(Config{})
	r.k.Start(r.now, Terms{Answered: true})
	r.run(24)
	cause := errors.New("420")
	r.k.STUN(r.now, [12]byte{1}, netip.AddrPort{}, cause)
	r.expect(t, "24 stun 1", "24 failed")
	if !errors.Is(r.err, cause) || isTimeout(r.err) {
		t.Errorf("error %v", r.err)
	}
}

// Registrations are refreshed on a flow. Terms that stay disturb nothing;
// others count from then on.
func TestTermsChange(t *testing.T) {
	r := newRig(Config{Reliable: true})
	r.answer = r.pong
	r.k.Start(r.now, Terms{Answered: true})
	r.run(90)
	r.k.Start(r.now, Terms{Answered: true})
	r.run(100)
	r.k.Start(r.now, Terms{true, 50 * time.Second})
	r.run(150)
	r.k.Stop()
	r.run(500)
	r.k.Start(r.now, Terms{})
	r.run(600)
	r.expect(t, "95 ping", "140 ping", "595 ping")
}

// A server that ceases to offer outbound owes no pong any more.
func TestTermsWithdrawn(t *testing.T) {
	r := newRig(Config{Reliable: true})
	r.k.Start(r.now, Terms{Answered: true})
	r.run(96)
	r.k.Start(r.now, Terms{})
	r.run(200)
	r.expect(t, "95 ping", "191 ping")
}

func TestProbe(t *testing.T) {
	r := newRig(Config{Reliable: true})
	r.k.Probe(r.now) // not started
	r.k.Start(r.now, Terms{Answered: true})
	r.run(50)
	r.k.Probe(r.now)
	r.k.Probe(r.now)
	r.run(100)
	r.expect(t, "50 ping", "60 failed")

	r = newRig(Config{Reliable: true})
	r.k.Start(r.now, Terms{})
	r.k.Probe(r.now) // would prove nothing
	r.expect(t)
}

// The table of RFC 5626 Appendix A, in seconds.
func TestBackoff_RFC5626_AppendixA(t *testing.T) {
	for _, c := range []struct {
		other bool
		rows  [][2]float64
	}{
		{false, [][2]float64{{30, 60}, {60, 120}, {120, 240}, {240, 480}, {480, 960}, {900, 1800}, {900, 1800}}},
		{true, [][2]float64{{90, 180}, {180, 360}, {360, 720}, {720, 1440}, {900, 1800}, {900, 1800}, {900, 1800}}},
	} {
		for i, rand := range []float64{0, 1} {
			b := Backoff{Rand: func() float64 { return rand }}
			now := time.Unix(0, 0)
			b.Registered(now)
			b.Registered(now.Add(29 * time.Minute)) // a refresh
			now = now.Add(30 * time.Minute)
			if d := b.Failed(now, c.other); d != 0 {
				t.Errorf("first attempt after a flow that worked: wait %v", d)
			}
			for k, row := range c.rows {
				if d := b.Failed(now, c.other); d.Seconds() != row[i] {
					t.Errorf("other flow %v, attempt %d: wait %v, want %v s", c.other, k+1, d, row[i])
				}
			}
			for range 100 {
				b.Failed(now, c.other)
			}
			if d := b.Failed(now, c.other); d.Seconds() != c.rows[6][i] || b.Failures() != 108 {
				t.Errorf("after %d failures: wait %v", b.Failures(), d)
			}
		}
	}
}

// A flow that is lost as soon as it is registered is no success.
func TestBackoffFlapping(t *testing.T) {
	b := Backoff{Rand: func() float64 { return 0 }}
	now := time.Unix(0, 0)
	for _, want := range []float64{30, 60, 120} {
		b.Registered(now)
		now = now.Add(29 * time.Second)
		if d := b.Failed(now, false); d.Seconds() != want {
			t.Errorf("wait %v, want %v s", d, want)
		}
	}
	b.Registered(now)
	if d := b.Failed(now.Add(30*time.Second), false); d != 0 || b.Failures() != 0 {
		t.Errorf("wait %v after a flow that held", d)
	}
	b.Failed(now, false)
	b.Reset()
	if b.Failures() != 0 {
		t.Error("Reset did not")
	}
}

func TestBackoffConfigured(t *testing.T) {
	b := Backoff{Rand: func() float64 { return 0.5 }, BaseAllFail: time.Second, BaseNotFailed: 3 * time.Second, Max: 10 * time.Second}
	var got []float64
	for i := range 6 {
		got = append(got, b.Failed(time.Unix(0, 0), i%2 == 1).Seconds())
	}
	if want := []float64{1.5, 7.5, 6, 7.5, 7.5, 7.5}; !slices.Equal(got, want) {
		t.Errorf("got %v, want %v", got, want)
	}
}
