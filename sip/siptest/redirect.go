package siptest

import (
	"time"

	"github.com/hoorn-phone/hoorn/internal/sipwire"
)

// deflected is why a call goes elsewhere whose device has redirected it
// (RFC 5806; RFC 4458 §2).
var deflected = cause{"deflection", 480, 480}

// followed goes on with a call where a device's 3xx sends it: to the first
// Contact in the lab's domain (RFC 3261 §8.1.3.4). It returns false if there is
// none, or none that is not on the way already: then the caller gets the 3xx.
func (b *bridge) followed(now time.Time, r *refusal) bool {
	if r.status/100 != 3 {
		return false
	}
	for _, contact := range r.contacts {
		uri, err := sipwire.ParseURI(contact)
		if err != nil || uri.Scheme != "tel" && !b.l.ours(&uri) {
			continue
		}
		if c := b.l.forwarded(b.callee, plainNumber(userPart(&uri)), deflected, b.trail); c.status == 0 {
			return b.divert(now, c)
		}
	}
	return false
}
