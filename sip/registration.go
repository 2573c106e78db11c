package sip

import (
	"context"
	"iter"
	"strconv"
	"sync"
	"time"

	"github.com/hoorn-phone/hoorn/internal/register"
	"github.com/hoorn-phone/hoorn/internal/sipwire"
)

// Registration is the account's binding at its registrar. It refreshes
// itself, and finds its way back when a connection or a server is lost, until
// it is ended or the registrar refuses it for good.
type Registration struct {
	ua    *UA
	log   eventLog[RegistrationEvent]
	first chan struct{} // closed when the first attempt is over
	done  chan struct{} // closed when the registration is

	mu   sync.Mutex
	info RegistrationInfo
	err  error

	// In the loop.
	up      map[int]bool // by reg-id
	tried   map[int]bool // flows whose first attempt has failed
	settled bool         // first is closed
	waiters int          // of first
	leaving bool         // Unregister was called
	left    error        // why a binding may still be there after
	ended   bool
}

// RegistrationInfo is what the registrar granted.
type RegistrationInfo struct {
	Registered bool
	// Expires is when the binding would end without another refresh.
	Expires time.Time
	// PublicGRUU and TempGRUU address this very device (RFC 5627); "" if the
	// server gives none.
	PublicGRUU, TempGRUU string
	// Outbound: the server keeps to RFC 5626.
	Outbound bool
	// FlowTimer is what the server asked for, 0 if nothing (RFC 5626 §4.4).
	FlowTimer time.Duration
	// ServiceRoute is the route of requests outside of dialogs (RFC 3608).
	ServiceRoute []string
	// AssociatedURIs are the account's other identities.
	AssociatedURIs []string
	// Flow describes the connection in use.
	Flow FlowInfo
}

// FlowInfo describes a connection to a server.
type FlowInfo struct {
	Transport     Transport
	Local, Remote string // address:port
	// TLSVersion and CipherSuite are crypto/tls's numbers, 0 without TLS.
	TLSVersion, CipherSuite uint16
}

// RegistrationState is where a registration stands.
type RegistrationState int

// The states.
const (
	Registering  RegistrationState = iota + 1
	Registered                     // also told for each refresh
	Reconnecting                   // the connection or the server was lost: Err; it is being tried again
	Unregistered                   // it has ended: Err
)

func (s RegistrationState) String() string {
	switch s {
	case Registering:
		return "registering"
	case Registered:
		return "registered"
	case Reconnecting:
		return "reconnecting"
	case Unregistered:
		return "unregistered"
	}
	return "RegistrationState(" + strconv.Itoa(int(s)) + ")"
}

// RegistrationEvent is a change of a registration.
type RegistrationEvent struct {
	Time  time.Time
	State RegistrationState
	// RegID is the flow concerned (RFC 5626 §4.2), 1 or 2; 0 is all of them.
	RegID int
	Err   error
}

// Register registers the account and waits for the outcome of the first
// attempt: every server of the account was tried when it fails. After that
// the registration lives by itself, and finds its way back by itself. An app
// that starts without a network calls Register again when there is one, or
// from time to time.
//
// Errors are *StatusError (the registrar refused), *AuthError,
// *CertificateError, *DialError, *TimeoutError, or the context's. The attempt
// ends with the context of the last who waits for it. While the account is
// registered, or about to be, Register returns that registration; while it is
// being unregistered it waits for that and begins anew.
func (ua *UA) Register(ctx context.Context) (*Registration, error) {
	if ua.acct.direct {
		return nil, ErrDirect
	}
	for {
		var reg *Registration
		var leaving bool
		err := ua.ep.Run(ctx, func(now time.Time) { reg, leaving = ua.registration(now) })
		switch {
		case err != nil:
			// What Run was given may still run, but not after this.
			ua.ep.Post(func(now time.Time) {
				if reg != nil && !leaving {
					reg.desert(now, err)
				}
			})
			return nil, publicError("REGISTER", err)
		case reg == nil:
			return nil, ErrClosed
		case leaving:
			select {
			case <-reg.done:
				continue
			case <-ctx.Done():
				return nil, context.Cause(ctx)
			}
		}
		select {
		case <-reg.first:
		case <-ctx.Done():
			settled := false
			_ = ua.ep.Run(context.Background(), func(now time.Time) { settled = reg.desert(now, context.Cause(ctx)) })
			if !settled {
				return nil, context.Cause(ctx)
			}
		}
		if err := reg.Err(); err != nil {
			return nil, err
		}
		return reg, nil
	}
}

// registration is the account's, begun if there is none, nil if there can be
// none. One that is being left does not count those who wait for it. In the
// loop, as is desert.
func (ua *UA) registration(now time.Time) (reg *Registration, leaving bool) {
	if ua.draining {
		return nil, false
	}
	if ua.reg != nil && ua.reg.leaving {
		return ua.reg, true
	}
	if ua.reg == nil {
		ua.reg = &Registration{
			ua: ua, first: make(chan struct{}), done: make(chan struct{}),
			up: make(map[int]bool), tried: make(map[int]bool),
		}
		ua.reg.log.add(RegistrationEvent{Time: now, State: Registering})
		for _, f := range ua.flows {
			f.register(now)
		}
	}
	ua.reg.waiters++
	return ua.reg, false
}

// desert is for who does not wait for the first attempt any more: with the
// last the attempt ends. It tells whether there was an outcome already.
func (r *Registration) desert(now time.Time, err error) (settled bool) {
	if r.settled {
		return true
	}
	if r.waiters--; r.waiters == 0 {
		r.end(now, err)
	}
	return false
}

// Info is what the registrar granted last.
func (r *Registration) Info() RegistrationInfo {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.info
}

// Err is why the registration ended; nil while it lives.
func (r *Registration) Err() error {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.err
}

// Events iterates over the changes, the latest 64 before the call included,
// until the registration or the context ends.
func (r *Registration) Events(ctx context.Context) iter.Seq[RegistrationEvent] {
	return r.log.all(ctx)
}

// Wait waits until the registration has ended and tells why: ErrUnregistered
// after Unregister or Close, otherwise what the registrar said.
func (r *Registration) Wait(ctx context.Context) error {
	select {
	case <-r.done:
		return r.Err()
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// Unregister removes the binding from the registrar and waits for it. The
// account can be registered again after. An error says why the registrar may
// still have the binding, until it expires: ErrNoFlow where there is no
// connection to say it over, *StatusError, *TimeoutError. For a registration
// that has ended by itself it is what Err says. Calls go on.
func (r *Registration) Unregister(ctx context.Context) error {
	err := r.ua.ep.Run(ctx, func(now time.Time) {
		if !r.ended {
			r.ua.unregister(now)
		}
	})
	if err != nil {
		return publicError("REGISTER", err)
	}
	select {
	case <-r.done:
		if err := r.Err(); err != ErrUnregistered {
			return err
		}
		return r.left // not changed any more
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// end is in the loop, as is everything below.
func (r *Registration) end(now time.Time, err error) {
	if r.ended {
		return
	}
	r.ended = true
	r.ua.reg = nil
	for _, f := range r.ua.flows {
		f.quit(now)
	}
	r.mu.Lock()
	r.err, r.info.Registered = err, false
	r.mu.Unlock()
	r.log.add(RegistrationEvent{Time: now, State: Unregistered, Err: err})
	r.log.close()
	r.settle()
	close(r.done)
	r.ua.checkGone(now)
}

// granted takes a 2xx for one flow.
func (r *Registration) granted(now time.Time, f *accountFlow, b register.Binding) {
	r.up[f.regID] = true
	info := RegistrationInfo{
		Registered: true, Expires: b.Expires, Outbound: b.Outbound, FlowTimer: b.FlowTimer,
		Flow: flowInfo(f.flow),
	}
	if b.PubGRUU != nil {
		info.PublicGRUU = sipwire.FormatURI(b.PubGRUU)
	}
	if b.TempGRUU != nil {
		info.TempGRUU = sipwire.FormatURI(b.TempGRUU)
	}
	for i := range b.ServiceRoute {
		info.ServiceRoute = append(info.ServiceRoute, sipwire.FormatURI(&b.ServiceRoute[i]))
	}
	for i := range b.AssociatedURIs {
		info.AssociatedURIs = append(info.AssociatedURIs, sipwire.FormatURI(&b.AssociatedURIs[i]))
	}
	r.mu.Lock()
	r.info = info
	r.mu.Unlock()
	r.log.add(RegistrationEvent{Time: now, State: Registered, RegID: f.regID})
	r.settle()
}

func (r *Registration) settle() {
	if !r.settled {
		r.settled = true
		close(r.first)
	}
}

// lost takes a failure of one flow. It tells whether to go on.
func (r *Registration) lost(now time.Time, f *accountFlow, err error, fatal bool) bool {
	if r.ended {
		return false
	}
	delete(r.up, f.regID)
	r.tried[f.regID] = true
	first := !r.settled && len(r.tried) == len(r.ua.flows)
	if (fatal || first) && len(r.up) == 0 {
		// There is no point in another attempt, or the first one failed on
		// every flow.
		r.end(now, publicError("REGISTER", err))
		return false
	}
	if len(r.up) == 0 {
		r.mu.Lock()
		r.info.Registered = false
		r.mu.Unlock()
	}
	r.log.add(RegistrationEvent{Time: now, State: Reconnecting, RegID: f.regID, Err: publicError("REGISTER", err)})
	return !fatal
}
