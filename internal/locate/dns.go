package locate

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"strings"
	"time"

	"github.com/miekg/dns"
)

// Bounds and defaults of DNS.
const (
	defaultDNSTimeout = 2 * time.Second
	defaultDNSTries   = 2
	maxServers        = 4
	maxPackets        = 8    // that are no answer to our question, before a server is given up
	maxCNAMEs         = 8    // in one answer
	udpSize           = 1232 // fits any path unfragmented
)

// DNS is a resolver that asks name servers of its own, over UDP, and over TCP where an answer is cut short. It knows nothing of the hosts file
// and of search domains: [System] does.
type DNS struct {
	// Servers are recursive name servers, such as "192.0.2.53:53", asked in this order; at most 4 are used. Required.
	Servers []string

	// Dial opens the connections to them, on "udp" and "tcp". Nil means the network of the system.
	Dial func(ctx context.Context, network, address string) (net.Conn, error)

	// Timeout is for one question to one server. Zero means 2 s.
	Timeout time.Duration

	// Tries is how often the list of servers is gone through. Zero means 2.
	Tries int
}

// LookupNAPTR implements [Resolver].
func (d *DNS) LookupNAPTR(ctx context.Context, n string) ([]NAPTR, error) {
	return ask(ctx, d, n, dns.TypeNAPTR, func(rr *dns.NAPTR) NAPTR {
		return NAPTR{
			Order: rr.Order, Preference: rr.Preference, Flags: rr.Flags,
			Service: rr.Service, Regexp: rr.Regexp, Replacement: hostName(rr.Replacement),
		}
	})
}

// LookupSRV implements [Resolver].
func (d *DNS) LookupSRV(ctx context.Context, n string) ([]SRV, error) {
	return ask(ctx, d, n, dns.TypeSRV, func(rr *dns.SRV) SRV {
		return SRV{Priority: rr.Priority, Weight: rr.Weight, Port: rr.Port, Target: hostName(rr.Target)}
	})
}

// LookupIP implements [Resolver]. Addresses of both families take turns, IPv6 first (RFC 8305 §4).
func (d *DNS) LookupIP(ctx context.Context, host string) ([]netip.Addr, error) {
	type answer struct {
		addrs []netip.Addr
		err   error
	}
	six := make(chan answer, 1)
	go func() {
		addrs, err := ask(ctx, d, host, dns.TypeAAAA, func(rr *dns.AAAA) netip.Addr { return fromIP(rr.AAAA) })
		six <- answer{addrs, err}
	}()
	v4, err4 := ask(ctx, d, host, dns.TypeA, func(rr *dns.A) netip.Addr { return fromIP(rr.A) })
	v6 := <-six
	if len(v4)+len(v6.addrs) == 0 {
		if errors.Is(v6.err, ErrTemporary) {
			return nil, v6.err
		}
		return nil, err4
	}
	return interleave(v6.addrs, v4), nil
}

func fromIP(ip net.IP) netip.Addr {
	a, _ := netip.AddrFromSlice(ip)
	return a.Unmap()
}

func interleave(a, b []netip.Addr) []netip.Addr {
	all := make([]netip.Addr, 0, len(a)+len(b))
	for i := range max(len(a), len(b)) {
		if i < len(a) {
			all = append(all, a[i])
		}
		if i < len(b) {
			all = append(all, b[i])
		}
	}
	return all
}

// ask returns the records of one type that belong to a name, directly or through aliases.
func ask[RR dns.RR, R any](ctx context.Context, d *DNS, n string, qtype uint16, convert func(RR) R) ([]R, error) {
	fqdn := dns.Fqdn(n)
	if _, ok := dns.IsDomainName(fqdn); !ok || n == "" {
		return nil, &Error{Kind: ErrNotFound, Name: n, Err: errors.New("not a domain name")}
	}
	msg, err := d.exchange(ctx, fqdn, qtype)
	if err != nil {
		return nil, &Error{Kind: ErrTemporary, Name: n, Err: err}
	}
	owner := fqdn
	for range maxCNAMEs {
		next := ""
		for _, rr := range msg.Answer {
			if c, ok := rr.(*dns.CNAME); ok && strings.EqualFold(c.Hdr.Name, owner) {
				next = c.Target
			}
		}
		if next == "" {
			break
		}
		owner = next
	}
	var records []R
	for _, rr := range msg.Answer {
		if r, ok := rr.(RR); ok && strings.EqualFold(rr.Header().Name, owner) && len(records) < maxRecords {
			records = append(records, convert(r))
		}
	}
	if len(records) == 0 {
		return nil, &Error{Kind: ErrNotFound, Name: n}
	}
	return records, nil
}

// exchange puts a question to the servers until one answers it, with records or with the word that there are none.
func (d *DNS) exchange(ctx context.Context, fqdn string, qtype uint16) (*dns.Msg, error) {
	servers := d.Servers[:min(len(d.Servers), maxServers)]
	if len(servers) == 0 {
		return nil, errors.New("no name servers known")
	}
	tries := d.Tries
	if tries <= 0 {
		tries = defaultDNSTries
	}
	var first error
	for range tries {
		for _, server := range servers {
			msg, err := d.question(ctx, server, fqdn, qtype)
			if err == nil {
				return msg, nil
			}
			if ctx.Err() != nil {
				return nil, ctx.Err()
			}
			if first == nil {
				first = err
			}
		}
	}
	return nil, first
}

// question asks one server. Servers that do not know EDNS (RFC 6891 §7) are asked again without.
func (d *DNS) question(ctx context.Context, server, fqdn string, qtype uint16) (*dns.Msg, error) {
	q := new(dns.Msg).SetQuestion(fqdn, qtype)
	q.SetEdns0(udpSize, false)
	msg, err := d.roundTrip(ctx, "udp", server, q)
	if err == nil && (msg.Rcode == dns.RcodeFormatError || msg.Rcode == dns.RcodeNotImplemented) {
		q = new(dns.Msg).SetQuestion(fqdn, qtype)
		msg, err = d.roundTrip(ctx, "udp", server, q)
	}
	if err == nil && msg.Truncated {
		msg, err = d.roundTrip(ctx, "tcp", server, q)
	}
	if err != nil {
		return nil, err
	}
	if msg.Rcode != dns.RcodeSuccess && msg.Rcode != dns.RcodeNameError {
		return nil, fmt.Errorf("name server %s says %s", server, dns.RcodeToString[msg.Rcode])
	}
	return msg, nil
}

// roundTrip sends a question and waits for its answer. Over UDP anything that is not that answer is passed over: it may be forged, or late.
func (d *DNS) roundTrip(ctx context.Context, network, server string, q *dns.Msg) (*dns.Msg, error) {
	timeout := d.Timeout
	if timeout <= 0 {
		timeout = defaultDNSTimeout
	}
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	dial := d.Dial
	if dial == nil {
		dial = new(net.Dialer).DialContext
	}
	c, err := dial(ctx, network, server)
	if err != nil {
		return nil, err
	}
	defer c.Close()
	defer context.AfterFunc(ctx, func() { _ = c.SetDeadline(time.Unix(1, 0)) })()
	conn := &dns.Conn{Conn: c, UDPSize: udpSize}
	if err := conn.WriteMsg(q); err != nil {
		return nil, err
	}
	for range maxPackets {
		msg, err := conn.ReadMsg()
		if err == nil && isAnswer(q, msg) {
			return msg, nil
		}
		var broken net.Error
		if network == "tcp" || errors.As(err, &broken) {
			if err == nil {
				err = errors.New("answer to another question")
			}
			return nil, fmt.Errorf("name server %s: %w", server, err)
		}
	}
	return nil, fmt.Errorf("name server %s: no answer among what arrived", server)
}

// isAnswer tells whether a answers q. A server that did not understand the question may leave it out.
func isAnswer(q, a *dns.Msg) bool {
	if a.Id != q.Id || !a.Response {
		return false
	}
	if len(a.Question) == 0 {
		return a.Rcode == dns.RcodeFormatError
	}
	asked := q.Question[0]
	return a.Question[0].Qtype == asked.Qtype && a.Question[0].Qclass == asked.Qclass && strings.EqualFold(a.Question[0].Name, asked.Name)
}
