package sip

import (
	"sort"
	"strconv"
	"strings"
	"time"

	sipgo "github.com/emiago/sipgo/sip"

	"github.com/hoorn-phone/hoorn/internal/call"
	"github.com/hoorn-phone/hoorn/internal/sipwire"
)

const (
	defaultRedirects = 5
	maxContacts      = 16 // of one 3xx
	maxTargets       = 64 // of one call
)

// targets is the target set of an INVITE that is redirected (RFC 3261
// §8.1.3.4): whom it may still be sent to, and whom it was. In the loop.
type targets struct {
	left  int            // redirections to go
	to    *sipgo.Uri     // whom the user called: To stays
	queue []sipgo.Uri    // the most wanted first
	tried []sipgo.Uri    // no URI is tried twice
	base  []sipgo.Header // of the INVITE without those of a redirection
}

// redirections is how many a DialOptions.MaxRedirects means.
func redirections(n int) int {
	if n == 0 {
		return defaultRedirects
	}
	return max(n, 0)
}

// recurse makes the next INVITE for a call whose INVITE was refused, if there
// is somebody left to call; begin sends it. What was refused by a target of a
// redirection goes on to the next, unless it was refused for all (6xx).
func (c *Call) recurse(now time.Time, set *dialogSet) *dialogSet {
	end := set.m.End()
	if set.inv == nil || c.ua.draining || end.By != call.Remote || end.Status < 300 || end.Status >= 600 {
		return nil
	}
	inv := *set.inv
	ts := &inv.targets
	if ts.to == nil {
		ts.to, ts.base = inv.to.Clone(), inv.headers
	}
	ts.tried = append(ts.tried, inv.to)
	if r := set.refusal; r != nil && end.Status <= sipgo.StatusMovedTemporarily && ts.left > 0 {
		ts.left--
		ts.add(c.ua, &inv.to, r)
		inv.headers = ts.base
		for _, name := range []string{"Diversion", "History-Info"} {
			for _, v := range headerValues(r, name) {
				// As it came: whoever is called is to know how he got it (RFC
				// 5806, RFC 7044).
				inv.headers = append(inv.headers[:len(inv.headers):len(inv.headers)], sipgo.NewHeader(name, v))
			}
		}
	}
	if len(ts.queue) == 0 {
		return nil
	}
	inv.to, ts.queue = ts.queue[0], ts.queue[1:]
	// The former peer may have seen the keys.
	inv.media.NewKeys = true
	next := c.outgoing(&inv)
	next.m.Inherit(set.m)
	if c.move != nil && c.move.set == set {
		c.move.set = next
	}
	if c.set == set {
		c.set, c.m = next, next.m
		c.party(now, next)
	}
	return next
}

// add puts the Contacts of a 3xx in front, ordered by their q, but those that
// were tried before. A call to a sips URI does not go to one that is not: that
// would be for the user to decide (RFC 3261 §8.1.3.4).
func (ts *targets) add(ua *UA, from *sipgo.Uri, r *sipgo.Response) {
	type contact struct {
		uri sipgo.Uri
		q   float64
	}
	var cs []contact
	for _, h := range sipwire.Contacts(r) {
		if len(cs) == maxContacts {
			break
		}
		uri := *h.Address.Clone()
		uri.Headers = nil
		uri, err := ua.target(sipwire.FormatURI(&uri))
		if err != nil || from.Scheme == "sips" && uri.Scheme != "sips" || ts.has(&uri) {
			continue
		}
		c := contact{uri, 1}
		if v, ok := sipwire.Param(h.Params, "q"); ok {
			if q, err := strconv.ParseFloat(strings.TrimSpace(v), 64); err == nil && q >= 0 && q <= 1 {
				c.q = q
			}
		}
		cs = append(cs, c)
	}
	sort.SliceStable(cs, func(i, j int) bool { return cs[i].q > cs[j].q })
	var found []sipgo.Uri
	for _, c := range cs {
		if !ts.has(&c.uri) && len(ts.tried)+len(ts.queue)+len(found) < maxTargets {
			found = append(found, c.uri)
		}
	}
	ts.queue = append(found, ts.queue...)
}

// has tells whether a URI was tried, or waits.
func (ts *targets) has(uri *sipgo.Uri) bool {
	for _, list := range [][]sipgo.Uri{ts.tried, ts.queue} {
		for i := range list {
			if sipwire.SameURI(uri, &list[i]) {
				return true
			}
		}
	}
	return false
}
