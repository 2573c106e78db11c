package locate

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/miekg/dns"
)

// patience is for servers that do answer, on a machine that may be busy.
const patience = time.Minute

// nameServer is a real one on the loopback, on the same port for UDP and TCP.
func nameServer(t *testing.T, handler dns.HandlerFunc) string {
	t.Helper()
	var pc net.PacketConn
	var l net.Listener
	for range 20 { // until the port that UDP was given is free for TCP as well
		var err error
		if pc, err = net.ListenPacket("udp", "127.0.0.1:0"); err != nil {
			t.Fatal(err)
		}
		if l, err = net.Listen("tcp", pc.LocalAddr().String()); err == nil {
			break
		}
		pc.Close()
	}
	if l == nil {
		t.Fatal("no port that is free for both UDP and TCP")
	}
	var ready, done sync.WaitGroup
	t.Cleanup(done.Wait) // after the shutdowns: cleanups run last to first
	for _, s := range []*dns.Server{{PacketConn: pc}, {Listener: l}} {
		ready.Add(1)
		s.Handler, s.NotifyStartedFunc = handler, ready.Done
		done.Go(func() { _ = s.ActivateAndServe() })
		t.Cleanup(func() { _ = s.Shutdown() })
	}
	ready.Wait()
	return pc.LocalAddr().String()
}

// answer gives the records of a zone file for the question.
func answer(t *testing.T, zone string) dns.HandlerFunc {
	var records []dns.RR
	parser := dns.NewZoneParser(strings.NewReader(zone), ".", "")
	for rr, ok := parser.Next(); ok; rr, ok = parser.Next() {
		records = append(records, rr)
	}
	if err := parser.Err(); err != nil {
		t.Fatal(err)
	}
	return func(w dns.ResponseWriter, q *dns.Msg) {
		a := new(dns.Msg).SetReply(q)
		name, known := q.Question[0].Name, false
		for range 10 {
			next := name
			for _, rr := range records {
				if !strings.EqualFold(rr.Header().Name, name) {
					continue
				}
				known = true
				if rr.Header().Rrtype == q.Question[0].Qtype {
					a.Answer = append(a.Answer, rr)
				} else if c, ok := rr.(*dns.CNAME); ok {
					a.Answer = append(a.Answer, rr)
					next = c.Target
				}
			}
			if next == name {
				break
			}
			name = next
		}
		if !known {
			a.Rcode = dns.RcodeNameError
		}
		if w.LocalAddr().Network() == "udp" {
			a.Truncate(512)
		}
		_ = w.WriteMsg(a)
	}
}

const testZone = `
example.com.              60 IN NAPTR 10 20 "s" "SIPS+D2T" "" _sips._tcp.example.com.
example.com.              60 IN NAPTR 10 30 "s" "SIP+D2U" "" _sip._udp.example.com.
_sips._tcp.example.com.   60 IN SRV 1 0 5061 edge1.example.com.
_sips._tcp.example.com.   60 IN SRV 2 0 5062 edge2.example.com.
_sip._udp.example.com.    60 IN SRV 1 0 5060 edge1.example.com.
edge1.example.com.        60 IN A 192.0.2.1
edge1.example.com.        60 IN A 192.0.2.2
edge1.example.com.        60 IN AAAA 2001:db8::1
edge2.example.com.        60 IN CNAME hosted.example.net.
hosted.example.net.       60 IN A 192.0.2.3
other.example.net.        60 IN A 192.0.2.4
loop1.example.com.        60 IN CNAME loop2.example.com.
loop2.example.com.        60 IN CNAME loop1.example.com.
closed.example.com.       60 IN SRV 0 0 0 .
`

func TestFindWithDNS(t *testing.T) {
	server := nameServer(t, answer(t, testZone))
	conf := filepath.Join(t.TempDir(), "resolv.conf")
	host, port, _ := net.SplitHostPort(server)
	if err := os.WriteFile(conf, []byte("nameserver "+host+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if got := (&System{ResolvConf: conf}).servers(); !slices.Equal(got, []string{host + ":53"}) || port == "53" {
		t.Errorf("servers of the machine: %v", got)
	}
	f := Finder{Resolver: &DNS{Servers: []string{server}, Timeout: patience}, Intn: func(int) int { return 0 }}
	targets, err := f.Find(t.Context(), Query{Host: "example.com", Secure: true})
	if err != nil {
		t.Fatal(err)
	}
	want := []string{
		"tls:[2001:db8::1]:5061 (edge1.example.com)", "tls:192.0.2.1:5061 (edge1.example.com)", "tls:192.0.2.2:5061 (edge1.example.com)",
		"tls:192.0.2.3:5062 (edge2.example.com)", // through the alias, whose name is not what the certificate is checked against
	}
	for i, target := range targets {
		if i >= len(want) || target.String() != want[i] || target.Domain != "example.com" {
			t.Errorf("target %d: %v of %s", i, target, target.Domain)
		}
	}
	if len(targets) != len(want) {
		t.Errorf("%d targets, want %d", len(targets), len(want))
	}
}

func TestDNSNotFound(t *testing.T) {
	d := &DNS{Servers: []string{nameServer(t, answer(t, testZone))}, Timeout: patience}
	lookups := map[string]func() error{
		"no such name": func() error { _, err := d.LookupSRV(t.Context(), "_sip._tcp.missing.example"); return err },
		"no such type": func() error { _, err := d.LookupNAPTR(t.Context(), "edge1.example.com"); return err },
		"no address":   func() error { _, err := d.LookupIP(t.Context(), "example.com"); return err },
		"aliases in a ring": func() error {
			_, err := d.LookupIP(t.Context(), "loop1.example.com")
			return err
		},
		"no name":         func() error { _, err := d.LookupIP(t.Context(), ""); return err },
		"no name for DNS": func() error { _, err := d.LookupIP(t.Context(), strings.Repeat("a", 64)+".example"); return err },
	}
	for name, lookup := range lookups {
		err := lookup()
		var e *Error
		if !errors.Is(err, ErrNotFound) || !errors.As(err, &e) || e.Temporary() || e.Timeout() {
			t.Errorf("%s: error %v", name, err)
		}
	}
	srv, err := d.LookupSRV(t.Context(), "closed.example.com")
	if err != nil || len(srv) != 1 || srv[0].Target != "" {
		t.Errorf("%+v, %v", srv, err)
	}
}

// An answer that does not fit into a datagram comes over TCP.
func TestDNSTruncated(t *testing.T) {
	var zone strings.Builder
	for i := range maxRecords {
		fmt.Fprintf(&zone, "_sips._tcp.big.example. 60 IN SRV %d 0 5061 a-rather-long-name-for-a-server-of-this-domain-%d.big.example.\n", i, i)
	}
	handler, tcp := answer(t, zone.String()), atomic.Int32{}
	d := &DNS{Timeout: patience, Servers: []string{nameServer(t, func(w dns.ResponseWriter, q *dns.Msg) {
		if w.LocalAddr().Network() == "tcp" {
			tcp.Add(1)
		}
		handler(w, q)
	})}}
	records, err := d.LookupSRV(t.Context(), "_sips._tcp.big.example")
	if err != nil || len(records) != maxRecords || tcp.Load() != 1 {
		t.Errorf("%d records, %d questions over TCP, error %v", len(records), tcp.Load(), err)
	}
}

func TestDNSBadServers(t *testing.T) {
	good := nameServer(t, answer(t, testZone))
	refuse := func(rcode int) string {
		return nameServer(t, func(w dns.ResponseWriter, q *dns.Msg) { _ = w.WriteMsg(new(dns.Msg).SetRcode(q, rcode)) })
	}
	closed, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	closed.Close()
	// What is not an answer to the question is passed over, and the real one after it is taken.
	forged := nameServer(t, func(w dns.ResponseWriter, q *dns.Msg) {
		if w.LocalAddr().Network() == "tcp" {
			return
		}
		fake := new(dns.Msg).SetReply(q)
		rr, _ := dns.NewRR("edge1.example.com. 60 IN A 203.0.113.66")
		fake.Answer = []dns.RR{rr}
		other := fake.Copy()
		fake.Id++
		other.Question[0].Name = "bank.example."
		request := fake.Copy()
		request.Id, request.Response = q.Id, false
		for _, m := range []*dns.Msg{fake, other, request} {
			_ = w.WriteMsg(m)
		}
		_, _ = w.Write([]byte("garbage"))
		answer(t, testZone)(w, q)
	})
	// As old servers do with EDNS.
	old := nameServer(t, func(w dns.ResponseWriter, q *dns.Msg) {
		if q.IsEdns0() != nil {
			_ = w.WriteMsg(new(dns.Msg).SetRcodeFormatError(q))
			return
		}
		answer(t, testZone)(w, q)
	})
	tests := []struct {
		name    string
		servers []string
	}{
		{"failing", []string{refuse(dns.RcodeServerFailure), good}},
		{"refusing", []string{refuse(dns.RcodeRefused), good}},
		{"not there", []string{closed.LocalAddr().String(), good}},
		{"forged", []string{forged}},
		{"old", []string{old}},
	}
	for _, tt := range tests {
		d := &DNS{Servers: tt.servers, Timeout: patience}
		addrs, err := d.LookupIP(t.Context(), "edge1.example.com")
		if want := ips("2001:db8::1", "192.0.2.1", "192.0.2.2"); err != nil || !slices.Equal(addrs, want) {
			t.Errorf("%s: %v, error %v", tt.name, addrs, err)
		}
	}
	for name, servers := range map[string][]string{"only failing": {refuse(dns.RcodeServerFailure)}, "not implemented": {refuse(dns.RcodeNotImplemented)}, "none": nil} {
		_, err := (&DNS{Servers: servers}).LookupSRV(t.Context(), "_sips._tcp.example.com")
		if !errors.Is(err, ErrTemporary) {
			t.Errorf("%s: error %v", name, err)
		}
	}
}

func TestDNSSilence(t *testing.T) {
	asked := make(chan struct{}, 100)
	silent := nameServer(t, func(dns.ResponseWriter, *dns.Msg) { asked <- struct{}{} })

	d := &DNS{Servers: []string{silent}, Timeout: time.Millisecond, Tries: 3}
	_, err := d.LookupSRV(t.Context(), "_sip._udp.example.com")
	var e *Error
	if !errors.As(err, &e) || !e.Temporary() || !e.Timeout() {
		t.Errorf("error %v", err)
	}

	// The end of the context ends the wait, however long the timeout.
	for len(asked) > 0 {
		<-asked
	}
	ctx, cancel := context.WithCancel(t.Context())
	go func() {
		<-asked
		cancel()
	}()
	d = &DNS{Servers: []string{silent}, Timeout: time.Hour}
	if _, err := d.LookupSRV(ctx, "_sip._udp.example.com"); !errors.Is(err, context.Canceled) || !errors.Is(err, ErrTemporary) {
		t.Errorf("error %v", err)
	}
}

func TestDNSAnswersAreBounded(t *testing.T) {
	var zone strings.Builder
	for i := range 4 * maxRecords {
		fmt.Fprintf(&zone, "many.example. 60 IN A 192.0.2.%d\n", i)
	}
	d := &DNS{Servers: []string{nameServer(t, answer(t, zone.String()))}, Timeout: patience}
	addrs, err := d.LookupIP(t.Context(), "many.example")
	if err != nil || len(addrs) != maxRecords {
		t.Errorf("%d addresses, error %v", len(addrs), err)
	}
}

func TestInterleave(t *testing.T) {
	got := interleave(ips("::1", "::2"), ips("192.0.2.1", "192.0.2.2", "192.0.2.3"))
	if want := ips("::1", "192.0.2.1", "::2", "192.0.2.2", "192.0.2.3"); !slices.Equal(got, want) {
		t.Errorf("got %v", got)
	}
}

// What the system resolver says of the loopback needs no name server.
func TestSystem(t *testing.T) {
	s := &System{ResolvConf: filepath.Join(t.TempDir(), "none")}
	addrs, err := s.LookupIP(t.Context(), "localhost")
	if err != nil || !slices.ContainsFunc(addrs, netip.Addr.IsLoopback) {
		t.Errorf("localhost is %v, error %v", addrs, err)
	}
	if _, err := s.LookupNAPTR(t.Context(), "example.com"); !errors.Is(err, ErrNotFound) {
		t.Errorf("NAPTR without name servers: error %v", err)
	}
	conf := filepath.Join(t.TempDir(), "resolv.conf")
	if err := os.WriteFile(conf, []byte("search a.example\nnameserver 192.0.2.53\nnameserver 2001:db8::53\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	s.ResolvConf = conf
	if got := s.servers(); !slices.Equal(got, []string{"192.0.2.53:53", "[2001:db8::53]:53"}) {
		t.Errorf("servers %v", got)
	}
	for err, want := range map[error]error{
		&net.DNSError{IsNotFound: true}: ErrNotFound, &net.DNSError{IsTimeout: true}: ErrTemporary, context.Canceled: ErrTemporary,
	} {
		if got := fromNet("a", err); !errors.Is(got, want) || !errors.Is(got, err) {
			t.Errorf("%v becomes %v", err, got)
		}
	}
}
