package register

import (
	"strings"
	"time"

	sipgo "github.com/emiago/sipgo/sip"

	"github.com/hoorn-phone/hoorn/internal/sipwire"
)

// Bounds on what a registrar may make us keep.
const (
	maxRoutes     = 16   // values of Service-Route and of Path
	maxIdentities = 32   // values of P-Associated-URI
	maxURI        = 1024 // bytes of one of their URIs, or of a GRUU

	minKeepAlive = 5 * time.Second
	maxKeepAlive = time.Hour
)

// Binding is what a registrar granted in a 2xx.
type Binding struct {
	// Contact is the URI that was registered.
	Contact sipgo.Uri
	// Expires is when the binding ends unless it is refreshed. The lifetime
	// is that of our Contact in the answer, else that of its Expires header,
	// else the one asked for (some registrars, and session border controllers
	// before BroadWorks, do not list our Contact as we wrote it). It is at
	// most a day, or what was asked for.
	Expires time.Time

	// PubGRUU and TempGRUU are the GRUUs of our Contact (RFC 5627); nil if
	// none. Of the temporary ones, all stay valid as long as the Call-ID, so
	// the newest is kept if an answer brings none.
	PubGRUU, TempGRUU *sipgo.Uri
	// ServiceRoute is the route for requests outside of dialogs (RFC 3608), in
	// order. Nil if there is none, or if one of its values is not a SIP URI or
	// there are more than 16: part of a route leads nowhere.
	ServiceRoute []sipgo.Uri
	// Path is the way from the registrar to us (RFC 3327), for information,
	// under the same bounds.
	Path []sipgo.Uri
	// AssociatedURIs are our other identities, the default one first
	// (P-Associated-URI, RFC 7315 section 4.1). At most 32.
	AssociatedURIs []sipgo.Uri

	// Outbound tells that the registrar follows RFC 5626 for this binding.
	Outbound bool
	// FlowTimer is how long the server keeps a flow that has fallen silent
	// (RFC 5626 section 4.4), 5 s to an hour; 0 if it did not say.
	FlowTimer time.Duration
	// Keep tells that the next hop wants keep-alives (RFC 6223), and KeepEvery
	// how often, 5 s to an hour; 0 if it leaves that to us.
	Keep      bool
	KeepEvery time.Duration
}

// grant reads the 2xx to the request under way.
func (m *Machine) grant(now time.Time, res *sipgo.Response) (b Binding, lifetime time.Duration) {
	b.Contact = m.contact
	own := m.ownContact(res)

	lifetime, ok := delta(own.param("expires"))
	if !ok {
		lifetime, ok = delta(sipwire.Header(res, "Expires"))
	}
	if !ok {
		lifetime = m.asked
	}
	lifetime = min(lifetime, max(m.asked, maxExpires))
	b.Expires = now.Add(lifetime)

	if m.gruu() {
		b.PubGRUU, b.TempGRUU = gruu(own.param("pub-gruu")), gruu(own.param("temp-gruu"))
		if b.TempGRUU == nil && m.binding.Expires.After(now) {
			b.TempGRUU = m.binding.TempGRUU
		}
	}
	b.ServiceRoute = routes(res, "Service-Route")
	b.Path = routes(res, "Path")
	for v := range values(res, "P-Associated-URI") {
		if u := v.uri(); u != nil && len(b.AssociatedURIs) < maxIdentities {
			b.AssociatedURIs = append(b.AssociatedURIs, *u)
		}
	}

	// RFC 5626 section 6: the registrar says that it did outbound processing.
	b.Outbound = m.outbound() && sipwire.HasToken(res, "Require", "outbound")
	if d, ok := delta(sipwire.Header(res, "Flow-Timer")); ok && d > 0 {
		b.FlowTimer = min(max(d, minKeepAlive), maxKeepAlive)
	}
	if m.cfg.Keep {
		b.Keep, b.KeepEvery = keep(res)
	}
	return b, lifetime
}

// ownContact finds our binding among those that the registrar lists: by
// instance and reg-id (RFC 5626 section 4.2.1), else by URI, else by instance
// alone where the registrar keeps no reg-id. Those of other phones do not
// concern us; the zero value stands for none.
func (m *Machine) ownContact(res *sipgo.Response) value {
	const (
		none = iota
		byInstance
		byURI
		byRegID
	)
	var own value
	best := none
	for v := range values(res, "Contact") {
		rank := none
		u := v.uri()
		ours := m.cfg.Instance != "" && strings.EqualFold(v.param("+sip.instance"), "<"+m.cfg.Instance+">")
		regID, hasRegID := number(v.param("reg-id"))
		switch {
		case u == nil:
		case ours && hasRegID && m.outbound():
			if regID == uint64(m.cfg.RegID) {
				rank = byRegID
			}
		case sameURI(u, &m.contact):
			rank = byURI
		case ours && !hasRegID:
			rank = byInstance
		}
		if rank > best {
			own, best = v, rank
		}
	}
	return own
}

// gruu reads a GRUU: a SIP URI with a gr parameter (RFC 5627 section 3.1).
func gruu(s string) *sipgo.Uri {
	u := parseURI(s)
	if !isSIP(u) || !hasURIParam(u, "gr") {
		return nil
	}
	return u
}

func routes(res *sipgo.Response, name string) []sipgo.Uri {
	var set []sipgo.Uri
	for v := range values(res, name) {
		u := v.uri()
		if !isSIP(u) || len(set) == maxRoutes {
			return nil
		}
		set = append(set, *u)
	}
	return set
}

// keep reads the answer to our keep parameter (RFC 6223 section 4.3): without
// a value it is only our own, come back.
func keep(res *sipgo.Response) (bool, time.Duration) {
	via := res.Via()
	if via == nil {
		return false, 0
	}
	for _, p := range via.Params {
		if !strings.EqualFold(p.K, "keep") {
			continue
		}
		d, ok := delta(p.V)
		if d > 0 {
			d = min(max(d, minKeepAlive), maxKeepAlive)
		}
		return ok, d
	}
	return false, 0
}
