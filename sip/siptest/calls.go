package siptest

import (
	"slices"
	"strings"
	"time"

	sipgo "github.com/emiago/sipgo/sip"

	"github.com/hoorn-phone/hoorn/internal/transaction"
	"github.com/hoorn-phone/hoorn/internal/transport"
)

// maxLegs bounds the dialogs in the lab.
const maxLegs = 50_000

// invited takes the INVITE of a new call.
func (l *life) invited(now time.Time, s *transaction.Server) {
	if len(l.legs) >= maxLegs {
		l.respond(now, s, sipgo.StatusServiceUnavailable)
		return
	}
	caller, ok := l.callerOf(now, s)
	if !ok {
		return
	}
	uri := &s.Request().Recipient
	if uri.Scheme != "tel" && !l.ours(uri) {
		l.respond(now, s, sipgo.StatusNotFound)
		return
	}
	number := userPart(uri)
	if l.replacing(now, s, caller) {
		return
	}
	l.dialled(now, s, caller, uri, number)
}

// dialled sends a call to where its number leads: services, access codes,
// conferences and users, in this order.
func (l *life) dialled(now time.Time, s *transaction.Server, caller *User, uri *sipgo.Uri, number string) {
	svc := l.service(number)
	if svc == nil && l.access(now, s, caller, number) {
		return
	}
	if svc == nil && l.meeting(now, s, caller, number) {
		return
	}
	if !isGRUU(uri) {
		caller.state.noteDialled(number)
	}
	if svc != nil {
		l.serve(now, s, svc)
		return
	}
	callee, devices, found := l.locate(now, uri, number)
	switch {
	case !found:
		l.respond(now, s, sipgo.StatusNotFound)
	case isGRUU(uri):
		// The device itself is meant (RFC 5627 §1), not where calls to its
		// user go.
		c := course{user: callee, devices: devices}
		if len(devices) == 0 {
			c.status = sipgo.StatusTemporarilyUnavailable
		}
		l.proceed(now, s, caller, c)
	default:
		known := ""
		if l.callerID(s.Request(), caller).asserted != "" {
			known = caller.shown()
		}
		callee.state.noteCaller(known)
		l.proceed(now, s, caller, l.course(callee, devices, nil))
	}
}

// isGRUU tells whether a URI names one device (RFC 5627 §3.1).
func isGRUU(uri *sipgo.Uri) bool {
	_, ok := uri.UriParams.Get("gr")
	return ok || strings.HasPrefix(uri.User, "tgruu.")
}

// callerOf finds out who calls.
func (l *life) callerOf(now time.Time, s *transaction.Server) (*User, bool) {
	if l.cfg.Auth.OpenCalls {
		if b := l.srv.loc.at(s.Flow().(*transport.Flow), now); b != nil {
			return b.user, true
		}
	}
	who, ok := l.authenticate(now, s)
	return who.user, ok
}

func (l *life) service(number string) Service {
	if svc := l.cfg.Services[number]; svc != nil {
		return svc
	}
	return l.cfg.Services[plainNumber(number)]
}

// locate finds whom a URI means and the devices to ring: all of a user's, or
// the one that a GRUU names (RFC 5627 §5.1).
func (l *life) locate(now time.Time, uri *sipgo.Uri, number string) (*User, []*binding, bool) {
	if strings.HasPrefix(number, "tgruu.") {
		u, b := l.srv.loc.byTempGRUU(number, now)
		if b == nil {
			return nil, nil, false
		}
		return u, reachable([]*binding{b}, now), true
	}
	u := l.srv.users.find(number)
	if u == nil {
		return nil, nil, false
	}
	bs := l.srv.loc.of(u, now)
	if gr, ok := uri.UriParams.Get("gr"); ok {
		bs = slices.DeleteFunc(bs, func(b *binding) bool { return b.instance != gr })
		if len(bs) == 0 {
			return nil, nil, false
		}
	}
	return u, reachable(bs, now), true
}

// reachable are those bindings that have a connection; of one instance the
// latest, as several reg-ids are several ways to one device (RFC 5626 §5.3).
func reachable(bs []*binding, now time.Time) []*binding {
	var out []*binding
	for _, b := range bs {
		if !b.live(now) {
			continue
		}
		out = slices.DeleteFunc(out, func(o *binding) bool {
			return b.regID != "" && o.regID != "" && o.instance == b.instance
		})
		out = append(out, b)
	}
	return out
}

// byTempGRUU finds a device by a temporary GRUU.
func (l *location) byTempGRUU(name string, now time.Time) (*User, *binding) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for u, bs := range l.bindings {
		for _, b := range bs {
			if b.expires.After(now) && slices.Contains(b.temp, name) {
				return u, b
			}
		}
	}
	return nil, nil
}
