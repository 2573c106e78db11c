package locate

import (
	"context"
	"errors"
	"net"
	"net/netip"

	"github.com/miekg/dns"
)

// System is the resolver of the machine. The zero value is ready.
//
// Addresses come from package net, which knows the hosts file, search domains and which addresses can be reached. For SRV and NAPTR it asks the name
// servers of /etc/resolv.conf, read anew each time, since they change with the network. Where there is no such file (Windows, Android),
// SRV comes from package net as well and NAPTR is not to be had: give a [DNS] with servers where that matters.
type System struct {
	// ResolvConf is read in place of /etc/resolv.conf if not empty.
	ResolvConf string
}

// servers are the name servers of the machine, as far as they are known.
func (s *System) servers() []string {
	path := s.ResolvConf
	if path == "" {
		path = "/etc/resolv.conf"
	}
	conf, err := dns.ClientConfigFromFile(path)
	if err != nil {
		return nil
	}
	var servers []string
	for _, host := range conf.Servers {
		servers = append(servers, net.JoinHostPort(host, conf.Port))
	}
	return servers
}

// LookupNAPTR implements [Resolver].
func (s *System) LookupNAPTR(ctx context.Context, n string) ([]NAPTR, error) {
	if servers := s.servers(); len(servers) > 0 {
		return (&DNS{Servers: servers}).LookupNAPTR(ctx, n)
	}
	return nil, &Error{Kind: ErrNotFound, Name: n, Err: errors.New("no name servers known to ask for NAPTR")}
}

// LookupSRV implements [Resolver].
func (s *System) LookupSRV(ctx context.Context, n string) ([]SRV, error) {
	if servers := s.servers(); len(servers) > 0 {
		return (&DNS{Servers: servers}).LookupSRV(ctx, n)
	}
	_, records, err := net.DefaultResolver.LookupSRV(ctx, "", "", n)
	if len(records) == 0 {
		return nil, fromNet(n, err)
	}
	var list []SRV
	for _, r := range records[:min(len(records), maxRecords)] {
		list = append(list, SRV{Priority: r.Priority, Weight: r.Weight, Port: r.Port, Target: hostName(r.Target)})
	}
	return list, nil
}

// LookupIP implements [Resolver].
func (s *System) LookupIP(ctx context.Context, host string) ([]netip.Addr, error) {
	addrs, err := net.DefaultResolver.LookupNetIP(ctx, "ip", host)
	if len(addrs) == 0 {
		return nil, fromNet(host, err)
	}
	for i, a := range addrs {
		addrs[i] = a.Unmap()
	}
	return addrs, nil
}

// fromNet sorts what package net says.
func fromNet(n string, err error) error {
	var de *net.DNSError
	if err == nil || errors.As(err, &de) && de.IsNotFound {
		return &Error{Kind: ErrNotFound, Name: n, Err: err}
	}
	return &Error{Kind: ErrTemporary, Name: n, Err: err}
}
