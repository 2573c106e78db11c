package register

import (
	"strconv"
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
	own := m.ownContact(res) // its parameters; nil if it is not there

	expires, _ := sipwire.Param(own, "expires")
	lifetime, ok := sipwire.ParseSeconds(expires)
	if !ok {
		lifetime, ok = sipwire.Seconds(res, "Expires")
	}
	if !ok {
		lifetime = m.asked
	}
	lifetime = min(lifetime, max(m.asked, maxExpires))
	b.Expires = now.Add(lifetime)

	if m.gruu() {
		b.PubGRUU, b.TempGRUU = gruu(own, "pub-gruu"), gruu(own, "temp-gruu")
		if b.TempGRUU == nil && m.binding.Expires.After(now) {
			b.TempGRUU = m.binding.TempGRUU
		}
	}
	b.ServiceRoute = routes(res, "Service-Route")
	b.Path = routes(res, "Path")
	for v := range sipwire.Values(res, "P-Associated-URI") {
		if u := address(v); u != nil && len(b.AssociatedURIs) < maxIdentities {
			b.AssociatedURIs = append(b.AssociatedURIs, *u)
		}
	}

	// RFC 5626 section 6: the registrar says that it did outbound processing.
	b.Outbound = m.outbound() && sipwire.HasToken(res, "Require", "outbound")
	d, _ := sipwire.Seconds(res, "Flow-Timer")
	b.FlowTimer = keepAlive(d)
	if via := res.Via(); via != nil && m.cfg.Keep {
		// RFC 6223 section 4.3: without a value it is only our own, come back.
		v, _ := sipwire.Param(via.Params, "keep")
		d, b.Keep = sipwire.ParseSeconds(v)
		b.KeepEvery = keepAlive(d)
	}
	return b, lifetime
}

// ownContact finds the parameters of our binding among those that the
// registrar lists: by instance and reg-id (RFC 5626 section 4.2.1), else by
// URI, else by instance alone where the registrar keeps no reg-id. Those of
// other phones do not concern us.
func (m *Machine) ownContact(res *sipgo.Response) (own sipgo.HeaderParams) {
	const (
		none = iota
		byInstance
		byURI
		byRegID
	)
	best := none
	for _, c := range sipwire.Contacts(res) {
		rank := none
		instance, _ := sipwire.Param(c.Params, "+sip.instance")
		ours := m.cfg.Instance != "" && strings.EqualFold(instance, "<"+m.cfg.Instance+">")
		regID, hasRegID := sipwire.Param(c.Params, "reg-id")
		switch {
		case ours && hasRegID && m.outbound():
			if regID == strconv.Itoa(m.cfg.RegID) {
				rank = byRegID
			}
		case sipwire.SameURI(&c.Address, &m.contact):
			rank = byURI
		case ours && !hasRegID:
			rank = byInstance
		}
		if rank > best {
			own, best = c.Params, rank
		}
	}
	return own
}

// gruu reads a GRUU: a SIP URI with a gr parameter (RFC 5627 section 3.1).
func gruu(params sipgo.HeaderParams, name string) *sipgo.Uri {
	s, _ := sipwire.Param(params, name)
	u, err := sipwire.ParseURI(s)
	if err != nil || !isSIP(&u) {
		return nil
	}
	if _, ok := sipwire.Param(u.UriParams, "gr"); !ok {
		return nil
	}
	return own(&u)
}

func routes(res *sipgo.Response, name string) []sipgo.Uri {
	var set []sipgo.Uri
	for v := range sipwire.Values(res, name) {
		u := address(v)
		if u == nil || !isSIP(u) || len(set) == maxRoutes {
			return nil
		}
		set = append(set, *u)
	}
	return set
}

// address is the URI of a name-addr or addr-spec, nil if there is none.
func address(s string) *sipgo.Uri {
	_, u, _, err := sipwire.ParseNameAddr(s)
	if err != nil {
		return nil
	}
	return own(&u)
}

// own copies a URI so that it keeps nothing alive of the message it came in.
// It is nil for one that is too long.
func own(u *sipgo.Uri) *sipgo.Uri {
	s := sipwire.FormatURI(u)
	if len(s) > maxURI {
		return nil
	}
	c, err := sipwire.ParseURI(s)
	if err != nil {
		return nil
	}
	return &c
}

func isSIP(u *sipgo.Uri) bool { return u.Scheme == "sip" || u.Scheme == "sips" }

// keepAlive bounds an interval; 0 stays.
func keepAlive(d time.Duration) time.Duration {
	if d == 0 {
		return 0
	}
	return min(max(d, minKeepAlive), maxKeepAlive)
}
