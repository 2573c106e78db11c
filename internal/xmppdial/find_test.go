package xmppdial

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/hoorn-phone/hoorn/internal/locate"
)

// recorder notes what it is asked.
type recorder struct {
	Resolver
	mu    sync.Mutex
	asked []string
}

func (r *recorder) LookupSRV(ctx context.Context, name string) ([]locate.SRV, error) {
	r.note("SRV " + name)
	return r.Resolver.LookupSRV(ctx, name)
}

func (r *recorder) LookupIP(ctx context.Context, host string) ([]netip.Addr, error) {
	r.note("IP " + host)
	return r.Resolver.LookupIP(ctx, host)
}

func (r *recorder) note(s string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.asked = append(r.asked, s)
}

func (r *recorder) sorted() string {
	r.mu.Lock()
	defer r.mu.Unlock()
	slices.Sort(r.asked)
	return strings.Join(r.asked, ", ")
}

var zone = locate.Static{
	SRV: map[string][]locate.SRV{
		// Both kinds, mixed.
		"_xmpps-client._tcp.both.example": {{Priority: 5, Port: 443, Target: "tls1.example."}, {Priority: 20, Port: 5223, Target: "tls2.example"}},
		"_xmpp-client._tcp.both.example":  {{Priority: 10, Port: 5222, Target: "Plain.example"}, {Priority: 30, Port: 80, Target: "plain.example"}},
		"_xmpps-server._tcp.both.example": {{Priority: 5, Port: 5270, Target: "s2s.example"}},
		"_xmpp-server._tcp.both.example":  {{Priority: 1, Port: 5269, Target: "s2s.example"}},
		// One kind.
		"_xmpp-client._tcp.starttls.example": {{Port: 5222, Target: "plain.example"}},
		"_xmpps-client._tcp.direct.example":  {{Port: 443, Target: "tls1.example"}},
		// Not offered.
		"_xmpps-client._tcp.nodirect.example": {{Target: "."}},
		"_xmpp-client._tcp.nodirect.example":  {{Port: 5222, Target: "plain.example"}},
		"_xmpps-client._tcp.dot.example":      {{Target: "."}},
		"_xmpp-client._tcp.dots.example":      {{Target: "."}},
		"_xmpps-client._tcp.dots.example":     {{Target: "."}},
		"_xmpps-client._tcp.dotshaky.example": {{Target: "."}},
		"_xmpp-client._tcp.plaindot.example":  {{Target: "."}},
		"_xmpps-client._tcp.plaindot.example": {{Port: 443, Target: "tls1.example"}},
		// What may come.
		"_xmpp-client._tcp.odd.example": {
			{Priority: 1, Port: 0, Target: "zero.example"}, {Priority: 2, Port: 5222, Target: "a b"}, {Priority: 3, Port: 5222, Target: ""},
			{Priority: 4, Port: 5222, Target: "2001:db8::1"}, {Priority: 5, Port: 5222, Target: "x\r\ny"}, {Priority: 6, Port: 5222, Target: "fe80::1%a\r\nb"},
			{Priority: 7, Port: 5222, Target: "good.example"}, {Priority: 8, Port: 5222, Target: "good.example."},
		},
		"_xmpp-client._tcp.xn--bcher-kva.example": {{Port: 5222, Target: "plain.example"}},
		"_xmpps-client._tcp.half.example":         {{Port: 443, Target: "tls1.example"}},
	},
	Err: map[string]error{
		"_xmpps-client._tcp.shaky.example":   io.ErrUnexpectedEOF,
		"_xmpp-client._tcp.shaky.example":    io.ErrUnexpectedEOF,
		"_xmpp-client._tcp.half.example":     io.ErrUnexpectedEOF,
		"_xmpp-client._tcp.dotshaky.example": io.ErrUnexpectedEOF,
	},
}

func TestFind(t *testing.T) {
	tests := []struct {
		name   string
		q      Query
		want   string
		domain string // "": as in the query
		asked  string // "": not looked at
		err    error
	}{
		// XEP-0368 §3
		{name: "one list by priority", q: Query{Domain: "both.example"},
			want:  "tls1.example:443 (direct TLS), plain.example:5222, tls2.example:5223 (direct TLS), plain.example:80",
			asked: "SRV _xmpp-client._tcp.both.example, SRV _xmpps-client._tcp.both.example"},
		{name: "of servers", q: Query{Domain: "both.example", Service: Server}, want: "s2s.example:5269, s2s.example:5270 (direct TLS)"},
		{name: "STARTTLS alone", q: Query{Domain: "starttls.example"}, want: "plain.example:5222"},
		{name: "direct TLS alone", q: Query{Domain: "direct.example"}, want: "tls1.example:443 (direct TLS)"},

		// RFC 6120 §3.2.2
		{name: "no records", q: Query{Domain: "Bare.example."}, domain: "bare.example", want: "bare.example:5222"},
		{name: "no records of servers", q: Query{Domain: "bare.example", Service: Server}, want: "bare.example:5269"},
		{name: "no answer", q: Query{Domain: "shaky.example"}, want: "shaky.example:5222"},
		{name: "an answer for one kind", q: Query{Domain: "half.example"}, want: "tls1.example:443 (direct TLS)"},
		{name: "address", q: Query{Domain: "192.0.2.1"}, want: "192.0.2.1:5222", asked: "-"},
		{name: "address in brackets", q: Query{Domain: "[2001:DB8::1]"}, domain: "2001:db8::1", want: "[2001:db8::1]:5222", asked: "-"},

		// RFC 2782; XEP-0368 §5: "MUST NOT perform A/AAAA fallback"
		{name: "no direct TLS", q: Query{Domain: "nodirect.example"}, want: "plain.example:5222"},
		{name: "no direct TLS, and no record for STARTTLS", q: Query{Domain: "dot.example"}, err: locate.ErrNotFound},
		{name: "no STARTTLS", q: Query{Domain: "plaindot.example"}, want: "tls1.example:443 (direct TLS)"},
		{name: "neither", q: Query{Domain: "dots.example"}, err: locate.ErrNotFound},
		{name: "one denied, the other not answered", q: Query{Domain: "dotshaky.example"}, err: locate.ErrTemporary},

		{name: "records that lead nowhere", q: Query{Domain: "odd.example"}, want: "[2001:db8::1]:5222, good.example:5222"},
		{name: "U-labels", q: Query{Domain: "B\u00fccher.example"}, domain: "xn--bcher-kva.example", want: "plain.example:5222"},
		{name: "no domain", q: Query{}, err: locate.ErrNotFound},
		{name: "not a domain", q: Query{Domain: "romeo@example.com"}, err: locate.ErrNotFound},
		{name: "not a domain in IDNA", q: Query{Domain: "a\u2260b.example\u0300/"}, err: locate.ErrNotFound},

		// RFC 6120 §3.2.3
		{name: "explicit", q: Query{Domain: "both.example", Server: "Edge.example:15222"}, want: "edge.example:15222", asked: "-"},
		{name: "explicit, direct TLS", q: Query{Domain: "both.example", Server: "edge.example:443", Direct: true}, want: "edge.example:443 (direct TLS)"},
		{name: "explicit without port", q: Query{Domain: "both.example", Server: "edge.example"}, want: "edge.example:5222"},
		{name: "explicit without port, direct TLS", q: Query{Domain: "both.example", Server: "edge.example", Direct: true}, want: "edge.example:5223 (direct TLS)"},
		{name: "explicit without port, direct TLS, of servers", q: Query{Domain: "both.example", Service: Server, Server: "edge.example", Direct: true}, want: "edge.example:5270 (direct TLS)"},
		{name: "explicit address", q: Query{Domain: "both.example", Server: "[2001:db8::2]:5222"}, want: "[2001:db8::2]:5222"},
		{name: "explicit address with a zone", q: Query{Domain: "both.example", Server: "fe80::1%eth0"}, want: "[fe80::1%eth0]:5222"},
		{name: "explicit, U-labels", q: Query{Domain: "both.example", Server: "b\u00fccher.example:5222"}, want: "xn--bcher-kva.example:5222"},
		{name: "explicit, U-labels without port", q: Query{Domain: "both.example", Server: "b\u00fccher.example"}, want: "xn--bcher-kva.example:5222"},
		{name: "explicit nonsense", q: Query{Domain: "both.example", Server: "edge.example:x"}, err: errAny},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			r := &recorder{Resolver: &zone}
			f := Finder{Resolver: r, Intn: func(int) int { return 0 }}
			targets, err := f.Find(t.Context(), tt.q)
			if tt.err == errAny && err != nil {
				return
			}
			if !errors.Is(err, tt.err) || (err == nil) == (len(targets) == 0) {
				t.Fatalf("targets %v, error %v, want error %v", targets, err, tt.err)
			}
			var got []string
			for _, target := range targets {
				got = append(got, target.String())
				if target.Domain != cmp.Or(tt.domain, tt.q.Domain) {
					t.Errorf("domain %q", target.Domain)
				}
				if target.Service != cmp.Or(tt.q.Service, Client) {
					t.Errorf("service %q", target.Service)
				}
			}
			if s := strings.Join(got, ", "); s != tt.want {
				t.Errorf("got  %s\nwant %s", s, tt.want)
			}
			if s := r.sorted(); tt.asked == "-" && s != "" || tt.asked != "" && tt.asked != "-" && s != tt.asked {
				t.Errorf("asked %q", s)
			}
		})
	}
}

var errAny = errors.New("any error")

// RFC 2782: weights are drawn over records of both kinds together (XEP-0368 §3).
func TestFindWeights_RFC2782(t *testing.T) {
	r := &locate.Static{SRV: map[string][]locate.SRV{
		"_xmpps-client._tcp.a.example": {{Weight: 3, Port: 443, Target: "three"}, {Weight: 0, Port: 443, Target: "zero"}},
		"_xmpp-client._tcp.a.example":  {{Weight: 1, Port: 5222, Target: "one"}},
	}}
	for _, tt := range []struct {
		draws []int // each from 0 to the sum of the weights left
		want  string
	}{
		{[]int{0, 0, 0}, "zero three one"},
		{[]int{3, 0, 0}, "three zero one"},
		{[]int{4, 3, 0}, "one three zero"},
	} {
		var sums []int
		f := Finder{Resolver: r, Intn: func(n int) int {
			sums = append(sums, n)
			return tt.draws[len(sums)-1]
		}}
		targets, err := f.Find(t.Context(), Query{Domain: "a.example"})
		if err != nil {
			t.Fatal(err)
		}
		var got []string
		for _, target := range targets {
			got = append(got, target.Host)
		}
		if s := strings.Join(got, " "); s != tt.want || sums[0] != 5 {
			t.Errorf("draws %v: %s, want %s (drawn from %v)", tt.draws, s, tt.want, sums)
		}
	}
}

func TestFindWithoutResolver(t *testing.T) {
	targets, err := new(Finder).Find(t.Context(), Query{Domain: "example.com"})
	want := []Target{{Host: "example.com", Port: 5222, Domain: "example.com", Service: Client}}
	if err != nil || !slices.Equal(targets, want) {
		t.Errorf("%v, %v", targets, err)
	}
}

func TestFindBoundsAndContext(t *testing.T) {
	r := &locate.Static{SRV: map[string][]locate.SRV{}}
	for i := range 200 {
		for _, name := range []string{"_xmpps-client._tcp.big.example", "_xmpp-client._tcp.big.example"} {
			r.SRV[name] = append(r.SRV[name], locate.SRV{Port: 5222, Target: fmt.Sprintf("h%d.example", i)})
		}
	}
	f := Finder{Resolver: r}
	targets, err := f.Find(t.Context(), Query{Domain: "big.example"})
	if err != nil || len(targets) != maxTargets {
		t.Errorf("%d targets, %v", len(targets), err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if targets, err := f.Find(ctx, Query{Domain: "big.example"}); !errors.Is(err, context.Canceled) || targets != nil {
		t.Errorf("%v, %v", targets, err)
	}
}

// FuzzASCII: what goes on to DNS, HTTP and proxies has no octet that means something there.
func FuzzASCII(f *testing.F) {
	for _, s := range []string{"example.com", "[::1]:5222", "b\u00fccher.example:5222", "fe80::1%eth0", "192.0.2.1:1", "\u3002", "xn--a"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		check := func(host string) {
			if host == "" || strings.Trim(host, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_.:%") != "" {
				t.Fatalf("%q gives %q", s, host)
			}
			if again, err := ASCII(host); err != nil || again != host {
				t.Fatalf("%q becomes %q, %v", host, again, err)
			}
		}
		if host, err := ASCII(s); err == nil {
			check(host)
		}
		if host, _, err := splitHostPort(s); err == nil {
			check(host)
		}
	})
}
