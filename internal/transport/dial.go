package transport

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"strings"
	"time"

	"github.com/hoorn-phone/hoorn/internal/certcheck"
)

// Target is a server to connect to.
type Target struct {
	Proto Proto
	Addr  netip.AddrPort
	// Host is the host whose address Addr is, "" if it is not known. In
	// DialAny neighbours with one Host and Proto are one server with
	// several addresses.
	Host string
	// TLS is the client configuration for TLS and WSS; see package
	// certcheck.
	TLS *tls.Config
	// Domain is whom TLS authenticates, for errors, and what the Host
	// header field of a WebSocket's request says; "" means Host or Addr.
	Domain string
	// Path is the resource of a WebSocket; "" means "/".
	Path string
}

func (t Target) String() string {
	if t.Host != "" {
		return fmt.Sprintf("%s %s (%v)", t.Proto, t.Host, t.Addr)
	}
	return fmt.Sprintf("%s %v", t.Proto, t.Addr)
}

// Attempt is a try to connect that failed.
type Attempt struct {
	Target Target
	Err    error
	Took   time.Duration
}

// DialError says that nothing of what was tried led to a connection.
type DialError struct {
	Attempts []Attempt // in the order in which they failed
}

func (e *DialError) Error() string {
	if len(e.Attempts) == 0 {
		return "transport: there is nothing to connect to"
	}
	var b strings.Builder
	b.WriteString("transport: ")
	for i, a := range e.Attempts {
		if i > 0 {
			b.WriteString("; ")
		}
		fmt.Fprintf(&b, "%v: %v", a.Target, a.Err)
	}
	return b.String()
}

// Unwrap are the errors of all attempts.
func (e *DialError) Unwrap() []error {
	errs := make([]error, len(e.Attempts))
	for i, a := range e.Attempts {
		errs[i] = a.Err
	}
	return errs
}

// Timeout implements net.Error: whether all attempts timed out.
func (e *DialError) Timeout() bool { return TimedOut(e.Unwrap()) }

// TimedOut tells whether there are errors, and all of them are timeouts.
func TimedOut(errs []error) bool {
	for _, err := range errs {
		var ne net.Error
		if !errors.As(err, &ne) || !ne.Timeout() {
			return false
		}
	}
	return len(errs) > 0
}

// Temporary implements net.Error.
func (e *DialError) Temporary() bool { return e.Timeout() }

// Dial connects to one target and returns when the flow is ready, TLS and
// WebSocket handshakes included. For UDP it opens a socket if there is none
// yet. The error is a *DialError, or ErrClosed.
func (t *Transport) Dial(ctx context.Context, target Target) (*Flow, error) {
	return t.DialAny(ctx, []Target{target})
}

// DialAny connects to the first of the targets that answers. Neighbours with
// one Host and Proto are the addresses of one server: they are tried side by
// side, families in turn, each a little after the one before or as soon as
// that has failed (RFC 8305 §4, §5). Different servers are tried one after the
// other, as RFC 3263 §4.3 has it. Errors are Dial's.
func (t *Transport) DialAny(ctx context.Context, targets []Target) (*Flow, error) {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	defer context.AfterFunc(t.ctx, func() { cancel(ErrClosed) })()
	failed := &DialError{}
	for len(targets) > 0 {
		n := 1
		for n < len(targets) && sameServer(targets[0], targets[n]) {
			n++
		}
		f, attempts := t.race(ctx, interleave(targets[:n]))
		if f != nil {
			return f, nil
		}
		failed.Attempts = append(failed.Attempts, attempts...)
		if ctx.Err() != nil {
			break
		}
		targets = targets[n:]
	}
	if t.ctx.Err() != nil {
		return nil, ErrClosed
	}
	if len(failed.Attempts) == 0 && ctx.Err() != nil {
		return nil, context.Cause(ctx)
	}
	return nil, failed
}

func sameServer(a, b Target) bool {
	return a.Host != "" && strings.EqualFold(a.Host, b.Host) && a.Proto == b.Proto
}

// interleave sorts addresses so that families alternate, beginning with that
// of the first (RFC 8305 §4); within a family the order stays.
func interleave(targets []Target) []Target {
	if len(targets) < 3 {
		return targets
	}
	var family [2][]Target
	first := targets[0].Addr.Addr().Is4()
	for _, t := range targets {
		i := 0
		if t.Addr.Addr().Is4() != first {
			i = 1
		}
		family[i] = append(family[i], t)
	}
	var out []Target
	for len(family[0]) > 0 || len(family[1]) > 0 {
		for i := range family {
			if len(family[i]) > 0 {
				out = append(out, family[i][0])
				family[i] = family[i][1:]
			}
		}
	}
	return out
}

// race tries the addresses of one server.
func (t *Transport) race(ctx context.Context, targets []Target) (*Flow, []Attempt) {
	type result struct {
		i int
		Attempt
		link link
	}
	ctx, cancel := context.WithCancel(ctx) // of those that come too late
	defer cancel()
	results, decided := make(chan result), make(chan struct{})
	defer close(decided)
	begun := make([]time.Time, len(targets)) // zero: not begun, or over
	attempt := func(i int, start time.Time) {
		l, err := t.connect(ctx, targets[i])
		r := result{i, Attempt{targets[i], err, time.Since(start)}, l}
		select {
		case results <- r:
		case <-decided:
			if l != nil {
				l.abort()
			}
		}
	}

	delay := time.NewTimer(0)
	defer delay.Stop()
	var failed []Attempt
	for started := 0; len(failed) < len(targets); {
		select {
		case <-delay.C:
			if started < len(targets) {
				i, now := started, time.Now()
				started++
				begun[i] = now
				if target := targets[i]; target.Proto == UDP {
					f, err := t.dialUDP(ctx, target.Addr)
					if err == nil {
						return f, nil
					}
					begun[i] = time.Time{}
					failed = append(failed, Attempt{target, err, 0})
					delay.Reset(0)
				} else if !t.start(func() { attempt(i, now) }) {
					return nil, append(failed, Attempt{target, ErrClosed, 0})
				} else {
					delay.Reset(t.cfg.AttemptDelay)
				}
			}
		case r := <-results:
			if r.Err == nil {
				f, err := t.adopt(r.link, r.Target.Proto, r.Target.Addr)
				if err == nil {
					return f, nil
				}
				r.Err = err
			}
			begun[r.i] = time.Time{}
			failed = append(failed, r.Attempt)
			delay.Reset(0)
		case <-ctx.Done():
			for i, start := range begun {
				if !start.IsZero() {
					failed = append(failed, Attempt{targets[i], context.Cause(ctx), time.Since(start)})
				}
			}
			return nil, failed
		}
	}
	return nil, failed
}

// connect makes one attempt, handshakes included.
func (t *Transport) connect(ctx context.Context, target Target) (_ link, err error) {
	ctx, cancel := context.WithTimeout(ctx, t.cfg.AttemptTimeout)
	defer cancel()
	if target.Proto.Secure() && target.TLS == nil {
		return nil, errors.New("transport: no TLS configuration for the server")
	}
	raw, err := t.cfg.Dial(ctx, "tcp", target.Addr.String())
	if err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			raw.Close()
		}
	}()
	conn := raw
	if target.Proto.Secure() {
		c := tls.Client(raw, target.TLS)
		if err := c.HandshakeContext(ctx); err != nil {
			return nil, fmt.Errorf("TLS handshake: %w", certcheck.Handshake(target.domain(), err))
		}
		conn = c
	}
	switch target.Proto {
	case TCP, TLS:
		return newStreamLink(t, conn, raw), nil
	case WS, WSS:
		l, err := dialWS(ctx, t, target, conn, raw)
		if err != nil {
			return nil, fmt.Errorf("WebSocket handshake: %w", err)
		}
		return l, nil
	default:
		return nil, fmt.Errorf("transport: unknown protocol %q", target.Proto)
	}
}

func (t Target) domain() string {
	switch {
	case t.Domain != "":
		return t.Domain
	case t.Host != "":
		return t.Host
	}
	return t.Addr.Addr().String()
}

// adopt makes a flow of a connection and starts its reader.
func (t *Transport) adopt(l link, p Proto, remote netip.AddrPort) (*Flow, error) {
	f := &Flow{t: t, proto: p, remote: remote, link: l, local: l.local()}
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.closed {
		l.abort()
		return nil, ErrClosed
	}
	t.flows[f] = struct{}{}
	t.wg.Go(f.run)
	return f, nil
}
