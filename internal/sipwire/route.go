package sipwire

import (
	"slices"

	sipgo "github.com/emiago/sipgo/sip"
)

// RouteTo returns the Request-URI and the Route values of a request to a
// remote target along a route set. They are what was given, unless the first
// hop is a strict router: it goes into the Request-URI, and the target to the
// end of the route (RFC 3261 §12.2.1.1).
func RouteTo(target sipgo.Uri, set []string) (sipgo.Uri, []string) {
	target = *target.Clone()
	target.Headers = nil
	if len(set) == 0 {
		return target, nil
	}
	_, first, _, err := ParseNameAddr(set[0])
	if _, loose := Param(first.UriParams, "lr"); err != nil || loose {
		return target, set
	}
	routes := append(slices.Clone(set[1:]), "<"+FormatURI(&target)+">")
	first.Headers = nil
	return first, routes
}
