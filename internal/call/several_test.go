package call

import (
	"errors"
	"fmt"
	"slices"
	"testing"
	"time"

	sipgo "github.com/emiago/sipgo/sip"

	"github.com/hoorn-phone/hoorn/internal/sipwire"
)

// Several reliable provisional responses that are out at once (RFC 3262 §3).

// requirer is a scripted caller that requires reliable responses and sends
// PRACK when the test says so.
type requirer struct {
	w       *world
	p       *party
	b       *Call
	l       *leg
	rseqs   []uint32
	at      map[uint32][]time.Duration // when each RSeq came, from the first of all
	start   time.Time
	answers []int // to PRACK
	final   int   // to the INVITE
}

func newRequirer(t *testing.T) (*requirer, *party) {
	t.Helper()
	w, alice, bob := newWorld(t, true)
	q := &requirer{w: w, p: alice, at: map[uint32][]time.Duration{}}
	alice.script = func(now time.Time, m sipgo.Message) {
		r, ok := m.(*sipgo.Response)
		switch {
		case !ok:
		case r.CSeq().MethodName == sipgo.PRACK:
			q.answers = append(q.answers, r.StatusCode)
		case r.StatusCode >= 200:
			q.final = r.StatusCode
		case sipwire.Header(r, "RSeq") != "":
			var n uint32
			fmt.Sscan(sipwire.Header(r, "RSeq"), &n)
			if q.l == nil {
				q.start = now
				q.l = &leg{c: &Call{env: partyEnv{alice}, id: "raw", localTag: "rawtag"}, remoteTag: sipwire.ToTag(r), localCSeq: r.CSeq().SeqNo}
				q.l.localURI, q.l.remoteURI, q.l.target = r.From().Address, r.To().Address, r.Contact().Address
			}
			if q.at[n] == nil {
				q.rseqs = append(q.rseqs, n)
			}
			q.at[n] = append(q.at[n], now.Sub(q.start))
		}
	}
	invite := rawInvite(alice, "offer")
	invite.AppendHeader(sipgo.NewHeader("Require", option100rel))
	alice.say(w.now, invite)
	w.run(50 * time.Millisecond)
	q.b = bob.incoming[0]
	return q, bob
}

// prack makes the PRACK of the nth response; sequence numbers are in the order made.
func (q *requirer) prack(n int) *sipgo.Request {
	req := q.l.request(sipgo.PRACK)
	req.AppendHeader(sipgo.NewHeader("RAck", fmt.Sprint(q.rseqs[n], " 1 INVITE")))
	q.p.via(req)
	return req
}

func (q *requirer) say(req *sipgo.Request) {
	q.p.say(q.w.now, req)
	q.w.run(2 * latency)
}

// RFC 3262 §3: after the first PRACK "the UAS MAY send additional reliable
// provisional responses" at any time, RSeq one higher each; each is sent again
// on its own clock until its own PRACK, in whatever order these come.
func TestReliableSeveral(t *testing.T) {
	q, bob := newRequirer(t)
	w, ms := q.w, time.Millisecond
	q.b.Ring(w.now, 180, "")
	w.run(2 * latency)
	q.say(q.prack(0))
	w.run(q.start.Add(time.Second).Sub(w.now) - latency)
	q.b.Ring(w.now, 182, "")
	w.run(100 * ms)
	q.b.Ring(w.now, 183, "")
	w.run(2 * latency)
	if len(q.rseqs) != 3 || q.rseqs[1] != q.rseqs[0]+1 || q.rseqs[2] != q.rseqs[0]+2 {
		t.Fatalf("RSeq %d", q.rseqs)
	}
	second, third := q.prack(1), q.prack(2)
	q.say(third) // overtakes the second
	w.run(2 * time.Second)
	q.say(second)
	w.run(10 * time.Second)
	for i, want := range [][]time.Duration{
		{0},
		{1000 * ms, 1500 * ms, 2500 * ms},
		{1100 * ms},
	} {
		if got := q.at[q.rseqs[i]]; !slices.Equal(got, want) {
			t.Errorf("response %d came at %v, want %v", i+1, got, want)
		}
	}
	if want := []int{200, 200, 200}; !slices.Equal(q.answers, want) {
		t.Errorf("PRACKs were answered %d", q.answers)
	}
	// Each counts once.
	q.say(q.prack(2))
	if q.answers[3] != 481 {
		t.Errorf("a second PRACK for the same was answered %d", q.answers[3])
	}
	q.b.Reject(w.now, 486, "")
	w.run(latency)
	if q.final != 486 || len(bob.calls) != 0 {
		t.Errorf("final %d", q.final)
	}
}

// RFC 3262 §3: one of several stays unacknowledged for 64*T1.
func TestReliableSeveralWithoutPrack(t *testing.T) {
	q, bob := newRequirer(t)
	w := q.w
	q.b.Ring(w.now, 180, "")
	w.run(2 * latency)
	q.say(q.prack(0))
	q.b.Ring(w.now, 182, "")
	w.run(time.Second)
	q.b.Ring(w.now, 183, "")
	w.run(2 * latency)
	q.say(q.prack(2))
	sent := q.at[q.rseqs[1]][0]
	w.run(q.start.Add(sent+64*500*time.Millisecond).Sub(w.now) - 1)
	if q.final != 0 {
		t.Fatalf("answered %d", q.final)
	}
	w.run(latency + 1)
	if q.final != 504 || !errors.Is(q.b.End().Err, ErrNoPrack) || len(bob.calls) != 0 {
		t.Errorf("answered %d, end %+v", q.final, q.b.End())
	}
}

// RFC 3262 §3: the 2xx waits for the responses with a description, and for
// those alone.
func TestAnswerAmongReliable(t *testing.T) {
	for _, tt := range []struct {
		name  string
		prack []int // what is acknowledged
		want  int
	}{
		{"none but the first", nil, 0},
		{"one without description", []int{2}, 0},
		{"that with the description", []int{1}, 200},
		{"the other first", []int{2, 1}, 200},
	} {
		t.Run(tt.name, func(t *testing.T) {
			q, _ := newRequirer(t)
			w := q.w
			q.b.Ring(w.now, 180, "")
			w.run(2 * latency)
			q.say(q.prack(0))
			q.b.Progress(w.now, none, func(time.Time, error) {})
			w.run(2 * latency)
			q.b.Ring(w.now, 182, "")
			w.run(2 * latency)
			q.b.Answer(w.now, none, func(time.Time, error) {})
			w.run(2 * latency)
			for _, n := range tt.prack {
				if q.final != 0 {
					t.Errorf("answered %d before PRACK %d", q.final, n)
				}
				q.say(q.prack(n))
			}
			if q.final != tt.want {
				t.Errorf("answered %d, want %d", q.final, tt.want)
			}
			q.b.Abort(w.now, errNo)
		})
	}
}

// What waited for the first PRACK is not sent where the 2xx can go.
func TestAnswerInsteadOfQueued(t *testing.T) {
	w, alice, bob := newWorld(t, true)
	a, b := calling100rel(t, w, alice, bob, "Require")
	b.Progress(w.now, none, func(time.Time, error) {})
	w.run(0)
	b.Ring(w.now, 180, "")
	b.Answer(w.now, none, func(time.Time, error) {})
	w.run(time.Second)
	w.check("alice INVITE", "bob 183 INVITE", "alice PRACK", "bob 200 PRACK", "bob 200 INVITE", "alice ACK")
	a.Hangup(w.now)
	w.over(alice, bob)
}
