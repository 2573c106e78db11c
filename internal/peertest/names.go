package peertest

import (
	"context"
	"net/netip"
	"strings"

	"github.com/hoorn-phone/hoorn/internal/locate"
)

// Names answers for the domains of peers on 127.0.0.1, and for nothing else.
type Names struct {
	Hosts []string                // themselves and all below them
	SRV   map[string][]locate.SRV // by name, such as "_xmpp-client._tcp.alpha.test"
}

// LookupIP implements locate.Resolver.
func (n *Names) LookupIP(_ context.Context, host string) ([]netip.Addr, error) {
	for _, h := range n.Hosts {
		if host == h || strings.HasSuffix(host, "."+h) {
			return []netip.Addr{netip.MustParseAddr("127.0.0.1")}, nil
		}
	}
	return nil, &locate.Error{Kind: locate.ErrNotFound, Name: host}
}

// LookupSRV implements locate.Resolver.
func (n *Names) LookupSRV(_ context.Context, name string) ([]locate.SRV, error) {
	if all := n.SRV[strings.TrimSuffix(name, ".")]; len(all) > 0 {
		return all, nil
	}
	return nil, &locate.Error{Kind: locate.ErrNotFound, Name: name}
}

// LookupNAPTR implements locate.Resolver.
func (n *Names) LookupNAPTR(_ context.Context, name string) ([]locate.NAPTR, error) {
	return nil, &locate.Error{Kind: locate.ErrNotFound, Name: name}
}
