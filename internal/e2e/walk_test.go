package e2e_test

import (
	"bytes"
	"context"
	"errors"
	"flag"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hoorn-phone/hoorn/internal/memnet"
	"github.com/hoorn-phone/hoorn/sip"
	"github.com/hoorn-phone/hoorn/sip/broadworks"
	"github.com/hoorn-phone/hoorn/sip/callpull"
	"github.com/hoorn-phone/hoorn/sip/offeranswer"
	"github.com/hoorn-phone/hoorn/sip/siptest"
)

// The walk: four parties do whatever can be done with calls, in any order, while
// messages are lost, delayed, repeated and refused and connections end. Then
// everybody waits until all timers have run out, and all must agree: each call
// that a user has is one leg in the lab, answered and held as the lab sees it,
// and the lab has no other.

var (
	walkSeed  = flag.Uint64("walk.seed", 1, "the first seed of TestWalk")
	walkWalks = flag.Int("walk.walks", 40, "how many walks TestWalk makes")
	walkSteps = flag.Int("walk.steps", 250, "how many operations each has")
)

func TestWalk(t *testing.T) {
	for i := range *walkWalks {
		seed := *walkSeed + uint64(i)
		t.Run(fmt.Sprint("seed ", seed), func(t *testing.T) {
			bubble(t, func(t *testing.T) { newWalk(t, seed).run(*walkSteps) })
		})
	}
}

type walk struct {
	t      *testing.T
	rand   *rand.Rand
	lab    *siptest.Server
	net    *memnet.Network
	open   papers
	all    []*walker
	wg     sync.WaitGroup
	faulty bool

	mu    sync.Mutex
	did   []string  // the latest, for who has to understand a failure
	quiet time.Time // from then on no fault explains that a call breaks
}

// walker is one device.
type walker struct {
	*sip.UA
	w       *walk
	name    string
	host    *memnet.Host
	watch   *callpull.Watcher // of other devices of the same user; nil: none
	feature *broadworks.Services

	mu    sync.Mutex
	calls []*sip.Call
	subs  []*sip.Subscription
}

func newWalk(t *testing.T, seed uint64) *walk {
	w := &walk{t: t, rand: rand.New(rand.NewPCG(seed, 0)), net: memnet.New(), faulty: seed%2 == 0}
	w.net.Seed(seed)
	w.net.ImpairAll(memnet.Impairment{Latency: time.Duration(w.rand.IntN(40)) * time.Millisecond})
	users := []siptest.User{{Name: "alice", Number: "1001"}, {Name: "bob", Number: "1002"}, {Name: "carol", Number: "1003"}, {Name: "dora", Number: "1004"}}
	for i := range users {
		users[i].Group = "office"
	}
	lab, err := siptest.Start(&siptest.Config{
		Addr: labAddr, Users: users, Network: network(w.net.Host(labAddr)), TranscriptSize: 400,
		// A peer that has forgotten a call is found out by this alone.
		Calls:     siptest.Calls{SessionExpires: 90 * time.Second, RingTime: time.Minute, ParkRecall: time.Hour},
		Registrar: siptest.Registrar{GRUU: true, MaxExpires: 2 * time.Minute},
	})
	must(t, err)
	w.lab = lab
	transports := []sip.Transport{sip.TLS, sip.UDP, sip.TCP}
	for i, name := range []string{"alice", "alice", "bob", "carol", "dora"} {
		w.join(i, name, transports[w.rand.IntN(len(transports))])
	}
	return w
}

// join registers a device.
func (w *walk) join(i int, name string, over sip.Transport) {
	p := &walker{w: w, name: fmt.Sprint(name, i), host: w.net.Host(fmt.Sprintf("10.0.0.%d", 10+i))}
	cfg := w.lab.Config(name)
	cfg.Account.Proxy, cfg.Account.Transport = w.lab.Proxy(over), over
	cfg.Account.Expires = 2 * time.Minute
	cfg.Network.Dial, cfg.Network.Listen, cfg.Network.ListenPacket = p.host.Dial, p.host.Listen, p.host.ListenPacket
	cfg.NewMedia = w.open.newMedia
	cfg.SessionTimer = sip.SessionTimer{Expires: 90 * time.Second}
	ua, err := sip.New(cfg)
	must(w.t, err)
	p.UA = ua
	_, err = ua.Register(w.t.Context())
	must(w.t, err)
	p.feature = broadworks.New(ua, nil)
	if name == "alice" {
		p.watch, err = callpull.Watch(w.t.Context(), ua, nil)
		must(w.t, err)
	}
	w.all = append(w.all, p)
	w.wg.Go(func() {
		for {
			c, err := ua.Accept(context.Background())
			if err != nil {
				return
			}
			p.add(c)
		}
	})
}

func (p *walker) add(c *sip.Call) {
	p.mu.Lock()
	p.calls = append(p.calls, c)
	p.mu.Unlock()
	p.w.wg.Go(func() {
		_ = c.Wait(context.Background())
		p.w.ended(p, c)
	})
}

// alive are the calls that have not ended.
func (p *walker) alive() []*sip.Call {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.calls = slices.DeleteFunc(p.calls, func(c *sip.Call) bool { return c.State() == sip.CallEnded })
	return slices.Clone(p.calls)
}

// some picks one of the calls in one of these states.
func (p *walker) some(states ...sip.CallState) *sip.Call {
	var cs []*sip.Call
	for _, c := range p.alive() {
		if len(states) == 0 || slices.Contains(states, c.State()) {
			cs = append(cs, c)
		}
	}
	if len(cs) == 0 {
		return nil
	}
	return cs[p.w.rand.IntN(len(cs))]
}

func (w *walk) note(format string, args ...any) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.did = append(w.did, fmt.Sprintf("%8.3f ", time.Since(epoch).Seconds())+fmt.Sprintf(format, args...))
	w.did = w.did[max(0, len(w.did)-60):]
}

var epoch = time.Date(2000, 1, 1, 0, 0, 0, 0, time.UTC) // of a bubble's clock

func (w *walk) fail(format string, args ...any) {
	w.t.Helper()
	w.mu.Lock()
	defer w.mu.Unlock()
	w.t.Errorf(format+"\nwhat was done last:\n%s", append(args, strings.Join(w.did, "\n"))...)
}

// ended looks at how a call has ended. Where nothing goes wrong no call breaks,
// and those that are not answered were refused by somebody or nobody took them.
func (w *walk) ended(p *walker, c *sip.Call) {
	end := c.End()
	w.note("%s: %s has ended: %v, %+v", p.name, c.ID(), end.Cause, end)
	w.mu.Lock()
	quiet := !time.Now().Before(w.quiet)
	w.mu.Unlock()
	if !quiet || end.Cause != sip.CauseFailed && end.Cause != sip.CauseUnreachable {
		return
	}
	refused, _ := errors.AsType[*sip.StatusError](end.Err)
	if refused != nil && c.Direction() == sip.Outgoing && slices.Contains([]int{404, 480}, refused.Code) {
		return
	}
	if id := c.Dialog().CallID; refused != nil && refused.Code == 481 && w.farewell(id) {
		return // it has crossed the BYE, and their flows are not the same
	}
	w.fail("%s: %s has ended, and nobody knows why: %v, %+v", p.name, c.ID(), end.Cause, end)
}

// farewell tells whether the lab has said BYE in a call.
func (w *walk) farewell(id string) bool {
	return slices.ContainsFunc(w.lab.Transcript().Entries, func(e siptest.Entry) bool {
		return e.Sent && bytes.HasPrefix(e.Data, []byte("BYE ")) && bytes.Contains(e.Data, []byte(id))
	})
}

// troubled notes that until then what has gone wrong explains ends.
func (w *walk) troubled(until time.Time) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.quiet = until
}

// do runs an operation that takes time beside the walk.
func (w *walk) do(p *walker, what string, fn func(ctx context.Context) error) {
	w.wg.Go(func() {
		ctx, cancel := context.WithTimeout(context.Background(), 40*time.Second)
		defer cancel()
		w.note("%s %s", p.name, what)
		if err := fn(ctx); err != nil {
			w.note("%s %s: %v", p.name, what, err)
		}
	})
}

func (w *walk) run(steps int) {
	for n := range steps {
		w.step()
		if pause := w.rand.ExpFloat64() * 400; w.rand.IntN(3) > 0 {
			pass(time.Duration(pause) * time.Millisecond)
		}
		if n%125 == 124 {
			w.settle()
		}
		if w.t.Failed() {
			break
		}
	}
	w.finish()
}

// step does something.
func (w *walk) step() {
	p := w.all[w.rand.IntN(len(w.all))]
	if w.faulty && w.rand.IntN(12) == 0 {
		w.fault(p)
		return
	}
	switch n := w.rand.IntN(26); {
	case n < 5:
		if len(p.alive()) < 4 {
			w.dial(p)
		}
	case n < 10:
		w.pickUp(p)
	case n < 12:
		if c := p.some(); c != nil {
			w.do(p, "hangs up "+c.ID(), func(ctx context.Context) error { return c.Hangup(ctx) })
		}
	case n < 15:
		if c := p.some(sip.CallEstablished); c != nil {
			w.do(p, "holds or resumes "+c.ID(), func(ctx context.Context) error {
				if c.Held().Local {
					return c.Resume(ctx)
				}
				return c.Hold(ctx)
			})
		}
	case n < 18:
		w.transfer(p)
	case n < 20:
		w.service(p)
	case n < 22:
		if p.watch != nil {
			w.pull(p)
		}
	case n < 23:
		if c := p.some(sip.CallEstablished); c != nil {
			w.do(p, "presses 5 in "+c.ID(), func(ctx context.Context) error { return c.SendDigits(ctx, "5", nil) })
		}
	case n < 24:
		w.subscribe(p)
	default:
		if c := p.some(sip.CallEstablished); c != nil {
			newKeys := w.rand.IntN(2) == 0
			w.do(p, "renegotiates "+c.ID(), func(ctx context.Context) error { return c.Renegotiate(ctx, offeranswer.Options{NewKeys: newKeys}) })
		}
	}
}

func (w *walk) dial(p *walker) {
	to := []string{"alice", "bob", "carol", "dora", "1003", "noanswer", "nobody", "busy"}[w.rand.IntN(8)]
	w.do(p, "calls "+to, func(ctx context.Context) error {
		c, err := p.Start(ctx, to, nil)
		if err == nil {
			p.add(c)
		}
		return err
	})
}

// pickUp decides about a call that rings here.
func (w *walk) pickUp(p *walker) {
	c := p.some(sip.CallIncoming, sip.CallRinging)
	if c == nil || c.Direction() != sip.Incoming {
		return
	}
	switch w.rand.IntN(6) {
	case 0:
		w.do(p, "rings for "+c.ID(), func(ctx context.Context) error { return c.Ring(ctx) })
	case 1:
		status := []int{486, 603, 480, 404}[w.rand.IntN(4)]
		w.do(p, fmt.Sprint("refuses ", c.ID(), " with ", status), func(ctx context.Context) error { return c.Reject(ctx, status) })
	case 2:
		w.do(p, "answers early "+c.ID(), func(ctx context.Context) error { return c.Progress(ctx) })
	default:
		w.do(p, "answers "+c.ID(), func(ctx context.Context) error { return c.Answer(ctx, nil) })
	}
}

func (w *walk) transfer(p *walker) {
	c, other := p.some(sip.CallEstablished), p.some(sip.CallEstablished)
	if c == nil {
		return
	}
	if other != c && w.rand.IntN(2) == 0 {
		w.do(p, "transfers "+c.ID()+" to "+other.ID(), func(ctx context.Context) error { return c.TransferTo(ctx, other, nil) })
		return
	}
	to := []string{"alice", "bob", "carol", "dora", "nobody"}[w.rand.IntN(5)]
	w.do(p, "transfers "+c.ID()+" to "+to, func(ctx context.Context) error { return c.Transfer(ctx, to, nil) })
}

// service uses an access code.
func (w *walk) service(p *walker) {
	extension := []string{"", "1001", "1002", "1003", "1004"}[w.rand.IntN(5)]
	n := w.rand.IntN(4)
	c := p.some(sip.CallEstablished)
	w.do(p, fmt.Sprint("uses a code (", n, ") with ", extension), func(ctx context.Context) error {
		var got *sip.Call
		var err error
		switch {
		case n == 0 && c != nil:
			return p.feature.Park(ctx, c, extension)
		case n == 1:
			got, err = p.feature.Retrieve(ctx, extension, nil)
		case n == 2:
			got, err = p.feature.PickupGroup(ctx, nil)
		case extension != "":
			got, err = p.feature.PickupDirected(ctx, extension, nil)
		}
		if got != nil {
			p.add(got)
		}
		return err
	})
}

func (w *walk) pull(p *walker) {
	calls := p.watch.Calls()
	if len(calls) == 0 {
		return
	}
	c := calls[w.rand.IntN(len(calls))]
	w.do(p, "pulls "+c.Dialog.CallID, func(ctx context.Context) error {
		got, err := p.watch.Pull(ctx, c, nil)
		if got != nil {
			p.add(got)
		}
		return err
	})
}

// subscribe watches a colleague, or ends that.
func (w *walk) subscribe(p *walker) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if len(p.subs) > 2 {
		s := p.subs[0]
		p.subs = p.subs[1:]
		w.do(p, "ends a subscription", func(ctx context.Context) error { return s.Close(ctx) })
		return
	}
	w.do(p, "subscribes", func(ctx context.Context) error {
		s, err := p.Subscribe(ctx, "bob", &sip.SubscribeOptions{Event: "dialog"})
		if err == nil {
			p.mu.Lock()
			defer p.mu.Unlock()
			p.subs = append(p.subs, s)
		}
		return err
	})
}

// fault lets something go wrong for a while.
func (w *walk) fault(p *walker) {
	w.troubled(time.Now().Add(24 * time.Hour)) // some wait for their message
	user, _ := strings.CutSuffix(p.name, p.name[len(p.name)-1:])
	m := siptest.Match{User: user, Status: siptest.AnyMessage}
	switch w.rand.IntN(8) {
	case 0:
		w.note("fault: %s loses messages", user)
		w.lab.Inject(siptest.Fault{Match: m, Drop: true, First: 1 + w.rand.IntN(3), Count: 1 + w.rand.IntN(6)})
	case 1:
		w.note("fault: messages of %s are late", user)
		w.lab.Inject(siptest.Fault{Match: m, Delay: time.Duration(w.rand.IntN(3000)) * time.Millisecond, Count: 1 + w.rand.IntN(6)})
	case 2:
		w.note("fault: messages of %s come twice", user)
		w.lab.Inject(siptest.Fault{Match: m, Copies: 1, Count: 1 + w.rand.IntN(6)})
	case 3:
		method := []string{"INVITE", "UPDATE", "REFER", "BYE", "SUBSCRIBE"}[w.rand.IntN(5)]
		status := []int{500, 503, 491, 488}[w.rand.IntN(4)]
		w.note("fault: %s of %s gets %d", method, user, status)
		w.lab.Inject(siptest.Fault{Match: siptest.Match{User: user, Method: method}, Answer: status})
	case 4:
		w.note("fault: %s is disconnected", user)
		w.lab.Disconnect(user)
	case 5:
		w.note("fault: connections of %s fall silent", user)
		w.lab.Cut(user)
	case 6:
		addr := p.host.Addrs()[0].String()
		w.note("fault: %s is not reached", p.name)
		w.net.BlackHole(addr, true)
		after := time.Duration(w.rand.IntN(20)) * time.Second
		w.wg.Go(func() {
			<-time.After(after)
			w.net.BlackHole(addr, false)
		})
	case 7:
		w.note("fault: the lab is restarted")
		must(w.t, w.lab.Restart(w.rand.IntN(2) == 0))
	}
}

// settleTime is longer than everything that lasts: session timers, the ringing
// of phones and of what is parked, transactions, backoff.
const settleTime = 15 * time.Minute

// mendTime is how long something that went wrong before can show: two session
// timers, ringing, and transactions.
const mendTime = 5 * time.Minute

// settle waits until nothing happens any more, and compares.
func (w *walk) settle() {
	w.lab.Mend()
	for _, p := range w.all {
		w.net.BlackHole(p.host.Addrs()[0].String(), false)
		for _, c := range p.alive() {
			if c.Direction() == sip.Incoming && c.State() == sip.CallIncoming {
				_ = c.Reject(w.t.Context(), 486)
			}
		}
	}
	if w.faulty {
		w.troubled(time.Now().Add(mendTime))
	}
	pass(time.Minute) // what goes on comes to its end
	for _, c := range w.lab.CallList() {
		if c.Parked {
			_ = w.lab.Hangup(c.ID) // the lab would play music all the time
		}
	}
	pass(settleTime)
	w.compare()
}

func (w *walk) compare() {
	w.t.Helper()
	lab := make(map[sip.Dialog]bool) // held
	for _, c := range w.lab.CallList() {
		for _, l := range c.Legs {
			d := sip.Dialog{CallID: l.CallID, LocalTag: l.Local, RemoteTag: l.Remote}
			lab[d] = l.Held
			if c.State != siptest.CallTalking || !l.Answered {
				w.fail("the lab: %s with %s is %s after %v", d.CallID, l.User, c.State, settleTime)
			}
		}
		if n := len(c.Legs); n > 2 || n == 1 && !c.Parked {
			w.fail("the lab: a call with %d legs: %+v", n, c)
		}
	}
	for _, p := range w.all {
		for _, c := range p.alive() {
			d := c.Dialog()
			held, ok := lab[d]
			delete(lab, d)
			switch {
			case c.State() != sip.CallEstablished:
				w.fail("%s: %s is %v after %v", p.name, c.ID(), c.State(), settleTime)
			case !ok:
				w.fail("%s: the lab knows nothing of %s", p.name, c.ID())
			case c.Held() == (sip.Hold{}) && c.Streams()[0].Remote != offeranswer.SendRecv:
				w.fail("%s: %s is one-way, and nobody holds: %+v", p.name, c.ID(), c.Streams())
			case held != c.Held().Local:
				w.fail("%s: %s held: %+v, %+v; the lab: %v", p.name, c.ID(), c.Held(), c.Streams(), held)
			}
		}
	}
	for d := range lab {
		w.fail("the lab has %s, and nobody else", d.CallID)
	}
}

// finish ends everything, and looks for what is left.
func (w *walk) finish() {
	w.settle()
	ctx := context.Background()
	for _, p := range w.all {
		for _, c := range p.alive() {
			_ = c.Hangup(ctx)
		}
	}
	pass(5 * time.Minute)
	if calls := w.lab.CallList(); len(calls) > 0 && !w.t.Failed() {
		w.fail("calls are left in the lab: %+v", calls)
	}
	if n := w.open.count(); n != 0 && !w.t.Failed() {
		w.fail("the media of %d calls are left", n)
	}
	for _, p := range w.all {
		for _, c := range p.alive() {
			w.fail("%s: %s is left: %v", p.name, c.ID(), c.State())
		}
		if p.watch != nil {
			w.do(p, "watches no more", func(ctx context.Context) error { return p.watch.Close(ctx) })
		}
		for _, s := range p.subs {
			w.do(p, "ends a subscription", func(ctx context.Context) error { return s.Close(ctx) })
		}
	}
	pass(time.Minute)
	for _, p := range w.all {
		p.Close()
	}
	w.lab.Close()
	w.wg.Wait()
	synctest.Wait() // no goroutine is left: the bubble would not end
}
