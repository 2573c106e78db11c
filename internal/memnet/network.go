// Package memnet is a network in memory: hosts with IP addresses, UDP sockets
// and TCP-like connections between them, and the ways in which networks fail.
//
// It exists for tests in virtual time. A [Network] made inside a
// testing/synctest bubble belongs to that bubble: whoever waits for it is
// durably blocked, so time advances. Outside a bubble it works in real time.
//
//	n := memnet.New()
//	alice, pbx := n.Host("10.0.0.1", "2001:db8::1"), n.Host("10.0.0.2")
//	l, err := pbx.Listen(ctx, "tcp", ":5061")
//	c, err := alice.Dial(ctx, "tcp", "10.0.0.2:5061")
//	n.CutSilently(alice, pbx) // nothing arrives any more, and nobody is told
//
// What it models: latency, jitter, loss and duplication of datagrams, receive
// queues that overflow, connections that are refused, reset, or cut without a
// word (what was written is held and arrives after Heal, as TCP's
// retransmissions would make it), black holes, hosts whose addresses change.
// What it does not: bandwidth, fragmentation, ICMP, multicast, names.
package memnet

import (
	"fmt"
	"math/rand/v2"
	"net/netip"
	"slices"
	"sync"
	"time"
)

// Impairment is what a path does to what is sent along it in one direction.
// The zero value delivers at once, everything, once and in order.
type Impairment struct {
	// Latency is how long a segment or a datagram travels. A dial takes
	// the latency there and back.
	Latency time.Duration
	// Jitter is a further delay, uniform between 0 and Jitter. Datagrams
	// overtake each other because of it; streams keep their order.
	Jitter time.Duration
	// Loss is the share of datagrams that vanish, 0 to 1.
	Loss float64
	// Duplicate is the share of datagrams that arrive twice, 0 to 1.
	Duplicate float64
	// Drop, if not nil, is asked for each datagram and makes it vanish by
	// answering true. It must neither block nor keep b, and may be called
	// by several goroutines at once.
	Drop func(from, to netip.AddrPort, b []byte) bool
}

// Stats counts datagrams.
type Stats struct {
	Sent       int // handed to the network
	Lost       int // vanished: loss, Drop, a cut, a black hole, nobody there
	Duplicated int // arrived a second time
	Overflowed int // came to a socket whose receive queue was full
}

// Network is a set of hosts, each of which reaches every other unless told
// otherwise. It is safe for concurrent use.
type Network struct {
	mu      sync.Mutex
	hosts   map[netip.Addr]*Host
	holes   map[netip.Addr]bool
	cuts    map[direction]bool
	paths   map[direction]Impairment
	all     Impairment
	conns   map[connKey]*conn
	changed chan struct{} // closed and replaced when dials that hang should look again
	rand    *rand.Rand
	stats   Stats
}

// direction is a path from one host to another.
type direction struct{ from, to *Host }

// connKey is one end of a connection.
type connKey struct{ local, remote netip.AddrPort }

// New returns an empty network. Its randomness (loss, jitter, duplication) is
// the same in every run.
func New() *Network {
	return &Network{
		hosts:   make(map[netip.Addr]*Host),
		holes:   make(map[netip.Addr]bool),
		cuts:    make(map[direction]bool),
		paths:   make(map[direction]Impairment),
		conns:   make(map[connKey]*conn),
		changed: make(chan struct{}),
		rand:    rand.New(rand.NewPCG(1, 2)),
	}
}

// Seed makes the network's randomness another, equally repeatable one.
func (n *Network) Seed(seed uint64) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.rand = rand.New(rand.NewPCG(seed, 2))
}

// Host adds a host that has the given IP addresses. It panics if one of them
// is no address or is taken, as that is a mistake in the test.
func (n *Network) Host(addrs ...string) *Host {
	h := &Host{
		net:     n,
		packets: make(map[netip.AddrPort]*packetConn),
		listens: make(map[netip.AddrPort]*listener),
	}
	h.SetAddrs(addrs...)
	return h
}

// Impair sets what the paths between two hosts do, in both directions, in
// place of what was set before. What is already under way keeps its delay.
func (n *Network) Impair(a, b *Host, i Impairment) {
	n.ImpairOneWay(a, b, i)
	n.ImpairOneWay(b, a, i)
}

// ImpairOneWay is Impair for one direction.
func (n *Network) ImpairOneWay(from, to *Host, i Impairment) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.paths[direction{from, to}] = i
}

// ImpairAll sets what every path does for which nothing of its own is set.
func (n *Network) ImpairAll(i Impairment) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.all = i
}

// CutSilently lets everything between two hosts vanish without a FIN or a
// reset. Datagrams are lost; what streams carry is held until Heal, writes to
// them succeed until the buffer is full, and new dials hang.
func (n *Network) CutSilently(a, b *Host) { n.setCut(a, b, true) }

// Heal ends a CutSilently: what streams held arrives after the path's latency.
func (n *Network) Heal(a, b *Host) { n.setCut(a, b, false) }

func (n *Network) setCut(a, b *Host, cut bool) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.cuts[direction{a, b}], n.cuts[direction{b, a}] = cut, cut
	n.refresh()
}

// BlackHole makes everything from and to an address vanish, or ends that.
// Addresses that no host has are black holes anyway.
func (n *Network) BlackHole(addr string, on bool) {
	ip := netip.MustParseAddr(addr).Unmap()
	n.mu.Lock()
	defer n.mu.Unlock()
	n.holes[ip] = on
	n.refresh()
}

// Reset breaks every connection between two hosts: both ends see a connection
// reset by the peer. It tells how many connections that were.
func (n *Network) Reset(a, b *Host) int {
	n.mu.Lock()
	defer n.mu.Unlock()
	count := 0
	for key, c := range n.conns {
		if c.from == a && c.to == b || c.from == b && c.to == a {
			delete(n.conns, key)
			c.in.reset()
			c.out.reset()
			count++
		}
	}
	return count / 2 // each connection is there with both its ends
}

// Stats tells what became of the datagrams so far.
func (n *Network) Stats() Stats {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.stats
}

// refresh makes every connection follow the state of the network, and lets
// dials that hang look again. The caller holds mu.
func (n *Network) refresh() {
	for _, c := range n.conns {
		c.out.setSilent(n.silent(c.from, c.local.Addr(), c.to, c.remote.Addr()), n.delay(n.path(c.from, c.to)))
	}
	close(n.changed)
	n.changed = make(chan struct{})
}

// silent tells whether what is sent from one address to the other vanishes.
// The caller holds mu.
func (n *Network) silent(from *Host, local netip.Addr, to *Host, remote netip.Addr) bool {
	if from == to && local.IsLoopback() {
		return false
	}
	return n.cuts[direction{from, to}] || n.holes[local] || n.holes[remote] ||
		n.hosts[local] != from || n.hosts[remote] != to
}

// path is what the path between two hosts does. The caller holds mu.
func (n *Network) path(from, to *Host) Impairment {
	if i, ok := n.paths[direction{from, to}]; ok {
		return i
	}
	if from == to {
		return Impairment{}
	}
	return n.all
}

// delay draws the time that one segment takes. The caller holds mu.
func (n *Network) delay(i Impairment) time.Duration {
	d := i.Latency
	if i.Jitter > 0 {
		d += time.Duration(n.rand.Int64N(int64(i.Jitter) + 1))
	}
	return d
}

// chance draws an event of the given probability. The caller holds mu.
func (n *Network) chance(p float64) bool { return p > 0 && n.rand.Float64() < p }

// lookup finds the host that h reaches by an address; nil if nobody has it.
// The caller holds mu.
func (n *Network) lookup(h *Host, ip netip.Addr) *Host {
	if ip.IsLoopback() {
		return h
	}
	return n.hosts[ip]
}

// SetAddrs gives the host other addresses in place of those it has, as when a
// phone leaves the Wi-Fi. Connections on an address that it no longer has fall
// silent, as after CutSilently, until it has the address again. With no
// address it is off the network. It panics as [Network.Host] does.
func (h *Host) SetAddrs(addrs ...string) {
	ips := make([]netip.Addr, len(addrs))
	for i, a := range addrs {
		ips[i] = netip.MustParseAddr(a).Unmap()
	}
	n := h.net
	n.mu.Lock()
	defer n.mu.Unlock()
	for _, ip := range ips {
		if owner := n.hosts[ip]; owner != nil && owner != h {
			panic(fmt.Sprintf("memnet: address %v is taken", ip))
		}
	}
	for _, ip := range h.addrs {
		delete(n.hosts, ip)
	}
	for _, ip := range ips {
		n.hosts[ip] = h
	}
	h.addrs = ips
	n.refresh()
}

// Addrs is the host's addresses in the order they were given.
func (h *Host) Addrs() []netip.Addr {
	h.net.mu.Lock()
	defer h.net.mu.Unlock()
	return slices.Clone(h.addrs)
}
