package sipwire

import (
	"slices"
	"testing"
)

// RFC 3261 §12.2.1.1, with the addresses of its §16.12.1.
func TestRouteTo_RFC3261_12_2_1_1(t *testing.T) {
	for _, c := range []struct {
		name, target string
		set          []string
		uri          string
		routes       []string
	}{
		{"no route", "sip:user@p4.domain.com?x=y", nil, "sip:user@p4.domain.com", nil},
		{
			"loose", "sip:user@p4.domain.com", []string{"<sip:p1.example.com;lr>", "<sip:p2.domain.com>"},
			"sip:user@p4.domain.com", []string{"<sip:p1.example.com;lr>", "<sip:p2.domain.com>"},
		},
		{
			"strict", "sip:user@p4.domain.com", []string{"<sip:p1.example.com?a=b>", "<sip:p2.domain.com;lr>"},
			"sip:p1.example.com", []string{"<sip:p2.domain.com;lr>", "<sip:user@p4.domain.com>"},
		},
		{
			"not to be read", "sip:user@p4.domain.com", []string{"what"},
			"sip:user@p4.domain.com", []string{"what"},
		},
	} {
		t.Run(c.name, func(t *testing.T) {
			target, err := ParseURI(c.target)
			if err != nil {
				t.Fatal(err)
			}
			before := slices.Clone(c.set)
			uri, routes := RouteTo(target, c.set)
			if got := FormatURI(&uri); got != c.uri {
				t.Errorf("Request-URI %s, want %s", got, c.uri)
			}
			if !slices.Equal(routes, c.routes) {
				t.Errorf("Route %q, want %q", routes, c.routes)
			}
			if !slices.Equal(c.set, before) {
				t.Errorf("the route set was changed to %q", c.set)
			}
		})
	}
}
