package xmppdial

import (
	"context"
	"net"
	"net/netip"
	"strconv"
	"time"

	"github.com/hoorn-phone/hoorn/internal/locate"
)

// Times and bounds of [Dialer].
const (
	DefaultAttemptDelay   = 250 * time.Millisecond // RFC 8305 §5, §8
	MinAttemptDelay       = 10 * time.Millisecond  // RFC 8305 §5
	DefaultAttemptTimeout = 20 * time.Second

	maxAddrs    = 8  // of one target
	maxAttempts = 64 // of one race
)

// DialFunc connects, as [net.Dialer.DialContext] does.
type DialFunc = func(ctx context.Context, network, address string) (net.Conn, error)

// Dialer connects to servers. The zero value dials names with package net.
type Dialer struct {
	// Dial opens connections, always on "tcp". It has to return when its context ends. Nil means the network of the system.
	Dial DialFunc

	// Resolver finds the addresses of hosts. Nil means that Dial is given the names: a proxy resolves them itself.
	Resolver Resolver

	// AttemptDelay is how long after one attempt the next begins, if that has not failed before. Zero means [DefaultAttemptDelay]; less than
	// [MinAttemptDelay] means that.
	AttemptDelay time.Duration

	// AttemptTimeout is for one attempt. Zero means [DefaultAttemptTimeout].
	AttemptTimeout time.Duration
}

// DialContext connects to the first address of a host that answers. It is a [DialFunc]. The network is "tcp", and the error a [*DialError].
func (d *Dialer) DialContext(ctx context.Context, network, address string) (net.Conn, error) {
	if network != "tcp" {
		return nil, &net.OpError{Op: "dial", Net: network, Err: net.UnknownNetworkError(network)}
	}
	host, port, err := net.SplitHostPort(address)
	if err != nil {
		return nil, &net.OpError{Op: "dial", Net: network, Err: err}
	}
	if host, err = ASCII(host); err != nil {
		return nil, err
	}
	n, err := strconv.ParseUint(port, 10, 16)
	if err != nil || n == 0 {
		return nil, &net.OpError{Op: "dial", Net: network, Err: &net.AddrError{Err: "port is no number", Addr: address}}
	}
	c, _, err := d.Race([]Target{{Host: host, Port: uint16(n), Domain: host}}).Next(ctx)
	return c, err
}

// Race is a run through a list of targets. It is not safe for concurrent use.
//
// All addresses of all targets are one list: those of a target in the order of the resolver, but with the families taking turns (RFC 8305 §4). Attempts begin
// one after the other, each a delay after the one before or at once when one fails; the first that connects wins, and the others are given up (RFC 8305 §5). A host
// whose addresses are not known after one delay does not keep later ones waiting any longer.
//
// There are bounds: 20 targets, 8 addresses of each, 64 altogether. What is beyond is not tried.
type Race struct {
	d        Dialer
	runners  []*runner
	tried    map[lane]bool // or being tried
	tries    int           // of all runners
	attempts []Attempt     // that failed
	last     Attempt       // that won
	lastAt   time.Time
}

// runner is a target on its way.
type runner struct {
	Target
	known bool // its addresses, or that there are none
	tries []*try
}

// try is one address of a target.
type try struct {
	r       *runner
	address string
	begun   time.Time // zero if it is not under way
}

// lane is what only one try is made for.
type lane struct {
	address string
	direct  bool
}

func (t *try) lane() lane { return lane{t.address, t.r.Direct} }

// Race begins a run through the targets. Nothing happens before the first Next.
func (d *Dialer) Race(targets []Target) *Race {
	r := &Race{d: *d, tried: make(map[lane]bool)}
	if r.d.Dial == nil {
		r.d.Dial = new(net.Dialer).DialContext
	}
	if r.d.AttemptDelay == 0 {
		r.d.AttemptDelay = DefaultAttemptDelay
	}
	r.d.AttemptDelay = max(r.d.AttemptDelay, MinAttemptDelay)
	if r.d.AttemptTimeout <= 0 {
		r.d.AttemptTimeout = DefaultAttemptTimeout
	}
	for _, t := range targets[:min(len(targets), maxTargets)] {
		s := &runner{Target: t}
		r.runners = append(r.runners, s)
		if ip, err := netip.ParseAddr(t.Host); err == nil {
			r.learn(s, []netip.Addr{ip})
		} else if r.d.Resolver == nil {
			s.known = true
			r.add(s, t.Address())
		}
	}
	return r
}

// learn takes the addresses of a target.
func (r *Race) learn(s *runner, addrs []netip.Addr) {
	s.known = true
	for _, ip := range interleave(addrs) {
		if len(s.tries) < maxAddrs {
			r.add(s, netip.AddrPortFrom(ip, s.Port).String())
		}
	}
}

func (r *Race) add(s *runner, address string) {
	if r.tries < maxAttempts {
		r.tries++
		s.tries = append(s.tries, &try{r: s, address: address})
	}
}

// interleave sorts addresses so that families alternate, beginning with that of the first (RFC 8305 §4); within a family the order stays.
func interleave(addrs []netip.Addr) []netip.Addr {
	var family [2][]netip.Addr
	for _, ip := range addrs {
		if ip = ip.Unmap(); !ip.IsValid() {
			continue
		}
		i := 0
		if len(family[0]) > 0 && ip.Is4() != family[0][0].Is4() {
			i = 1
		}
		family[i] = append(family[i], ip)
	}
	var out []netip.Addr
	for i := range max(len(family[0]), len(family[1])) {
		for _, f := range family {
			if i < len(f) {
				out = append(out, f[i])
			}
		}
	}
	return out
}

// Next returns the next connection and where it leads. It may be called again when the one before was no good: that one's address and those that
// failed are not tried anew, while attempts that were given up because another was faster are. The connection is the caller's to close, and
// outlives the context.
//
// When nothing is left or the context ends, the error is a [*DialError] with all attempts so far.
func (r *Race) Next(ctx context.Context) (net.Conn, Target, error) {
	inner, cancel := context.WithCancel(ctx) // of those that come too late
	defer cancel()
	decided := make(chan struct{})
	defer close(decided)
	answers, waiting := r.resolve(inner, decided)
	results, running := make(chan result), 0

	hold := time.NewTimer(r.d.AttemptDelay) // of targets after one whose host is being looked up
	defer hold.Stop()
	next := time.NewTimer(r.d.AttemptDelay)
	defer next.Stop()
	held, due := true, true
	for {
		if due && ctx.Err() == nil {
			if t := r.pick(held); t != nil {
				r.tried[t.lane()], t.begun, due = true, time.Now(), false
				running++
				go r.attempt(inner, t, results, decided)
				next.Reset(r.d.AttemptDelay)
			} else if running == 0 && waiting == 0 {
				return nil, Target{}, &DialError{Attempts: r.attempts}
			}
		}
		select {
		case a := <-answers:
			waiting--
			r.answered(a)
		case <-hold.C:
			held = false
		case <-next.C:
			due = true
		case res := <-results:
			running--
			if res.err == nil {
				r.last, r.lastAt = Attempt{Target: res.t.r.Target, Address: res.t.address}, res.t.begun
				r.reset(res.t)
				return res.conn, res.t.r.Target, nil
			}
			r.failed(res.t, res.err)
			due = true
		case <-ctx.Done():
			return nil, Target{}, r.ended(context.Cause(ctx))
		}
	}
}

// Refuse says why the connection that Next returned last is no good, for the error in which all may end. It does not close the connection.
func (r *Race) Refuse(err error) {
	if r.last.Address != "" {
		r.last.Err, r.last.Took = err, time.Since(r.lastAt)
		r.attempts = append(r.attempts, r.last)
		r.last = Attempt{}
	}
}

// pick is what to try next. Targets after one whose addresses are not known yet have to wait if held is set.
func (r *Race) pick(held bool) *try {
	for _, s := range r.runners {
		if !s.known && held {
			return nil
		}
		for _, t := range s.tries {
			if !r.tried[t.lane()] {
				return t
			}
		}
	}
	return nil
}

// reset makes attempts that were given up for a winner new again.
func (r *Race) reset(winner *try) {
	for _, s := range r.runners {
		for _, t := range s.tries {
			if t != winner && !t.begun.IsZero() {
				delete(r.tried, t.lane())
				t.begun = time.Time{}
			}
		}
	}
	winner.begun = time.Time{}
}

func (r *Race) failed(t *try, err error) {
	r.attempts = append(r.attempts, Attempt{Target: t.r.Target, Address: t.address, Err: err, Took: time.Since(t.begun)})
	t.begun = time.Time{}
}

// ended is the error when the context has ended: with what is under way, names too.
func (r *Race) ended(cause error) error {
	e := &DialError{Attempts: r.attempts[:len(r.attempts):len(r.attempts)], Err: cause}
	for _, s := range r.runners {
		if !s.known {
			e.Attempts = append(e.Attempts, Attempt{Target: s.Target, Err: cause})
		}
		for _, t := range s.tries {
			if !t.begun.IsZero() {
				e.Attempts = append(e.Attempts, Attempt{Target: s.Target, Address: t.address, Err: cause, Took: time.Since(t.begun)})
			}
		}
	}
	r.reset(&try{})
	return e
}

// result is what became of an attempt.
type result struct {
	t    *try
	conn net.Conn
	err  error
}

// attempt makes one, in its own goroutine.
func (r *Race) attempt(ctx context.Context, t *try, results chan<- result, decided <-chan struct{}) {
	ctx, cancel := context.WithTimeout(ctx, r.d.AttemptTimeout)
	defer cancel()
	conn, err := r.d.Dial(ctx, "tcp", t.address)
	select {
	case results <- result{t, conn, err}:
	case <-decided:
		if err == nil {
			conn.Close()
		}
	}
}

// answer is what became of the lookup of a host.
type answer struct {
	host  string
	addrs []netip.Addr
	err   error
	took  time.Duration
}

// resolve asks for the addresses of all hosts of which they are not known, and tells how many these are.
func (r *Race) resolve(ctx context.Context, decided <-chan struct{}) (<-chan answer, int) {
	answers := make(chan answer)
	asked := make(map[string]bool)
	for _, s := range r.runners {
		if s.known || asked[s.Host] {
			continue
		}
		asked[s.Host] = true
		go func() {
			begun := time.Now()
			addrs, err := r.d.Resolver.LookupIP(ctx, s.Host)
			select {
			case answers <- answer{s.Host, addrs, err, time.Since(begun)}:
			case <-decided:
			}
		}()
	}
	return answers, len(asked)
}

// answered hands the addresses of a host to its targets.
func (r *Race) answered(a answer) {
	for _, s := range r.runners {
		if s.known || s.Host != a.host {
			continue
		}
		r.learn(s, a.addrs)
		if a.err == nil && len(a.addrs) == 0 {
			a.err = &locate.Error{Kind: locate.ErrNotFound, Name: a.host}
		}
		if a.err != nil {
			r.attempts = append(r.attempts, Attempt{Target: s.Target, Err: a.err, Took: a.took})
		}
	}
}
