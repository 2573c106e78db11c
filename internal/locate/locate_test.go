package locate

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net/netip"
	"slices"
	"strings"
	"testing"
)

func ips(list ...string) []netip.Addr {
	var addrs []netip.Addr
	for _, s := range list {
		addrs = append(addrs, netip.MustParseAddr(s))
	}
	return addrs
}

// recorder notes what was asked.
type recorder struct {
	Resolver
	asked []string
}

func (r *recorder) LookupNAPTR(ctx context.Context, n string) ([]NAPTR, error) {
	r.asked = append(r.asked, "NAPTR "+n)
	return r.Resolver.LookupNAPTR(ctx, n)
}

func (r *recorder) LookupSRV(ctx context.Context, n string) ([]SRV, error) {
	r.asked = append(r.asked, "SRV "+n)
	return r.Resolver.LookupSRV(ctx, n)
}

func (r *recorder) LookupIP(ctx context.Context, host string) ([]netip.Addr, error) {
	r.asked = append(r.asked, "IP "+host)
	return r.Resolver.LookupIP(ctx, host)
}

// The zone of RFC 3263 §4.1 and §4.2, and what real ones have beside it.
var zone = Static{
	NAPTR: map[string][]NAPTR{
		"example.com": {
			{Order: 90, Preference: 50, Flags: "s", Service: "SIP+D2U", Replacement: "_sip._udp.example.com"},
			{Order: 50, Preference: 60, Flags: "S", Service: "SIP+D2T", Replacement: "_sip._tcp.example.com."},
			{Order: 50, Preference: 50, Flags: "s", Service: "sips+d2t", Replacement: "_sips._tcp.Example.com"},
			{Order: 10, Preference: 10, Flags: "u", Service: "E2U+sip", Regexp: "!^.*$!sip:info@example.com!"},
			{Order: 10, Preference: 10, Flags: "s", Service: "SIP+D2S", Replacement: "_sip._sctp.example.com"},
		},
		"plain.example":  {{Order: 1, Preference: 1, Flags: "s", Service: "SIP+D2U", Replacement: "_sip._udp.plain.example"}},
		"web.example":    {{Order: 1, Preference: 1, Flags: "s", Service: "SIPS+D2W", Replacement: "_sips._ws.web.example"}, {Order: 1, Preference: 2, Flags: "s", Service: "SIP+D2W", Replacement: "_sip._ws.web.example"}},
		"direct.example": {{Order: 1, Preference: 1, Flags: "a", Service: "SIPS+D2T", Replacement: "edge.direct.example"}},
	},
	SRV: map[string][]SRV{
		"_sips._tcp.example.com":     {{Priority: 1, Weight: 1, Port: 5061, Target: "server1.example.com."}, {Priority: 2, Weight: 1, Port: 5071, Target: "server2.example.com"}},
		"_sip._tcp.example.com":      {{Priority: 1, Port: 5060, Target: "server1.example.com"}},
		"_sip._udp.example.com":      {{Priority: 1, Port: 5060, Target: "server2.example.com"}},
		"_sip._udp.plain.example":    {{Port: 5060, Target: "server1.example.com"}},
		"_sips._ws.web.example":      {{Port: 8443, Target: "server1.example.com"}},
		"_sip._ws.web.example":       {{Port: 8080, Target: "server1.example.com"}},
		"_sip._udp.srvonly.example":  {{Port: 5060, Target: "server2.example.com"}},
		"_sips._tcp.srvonly.example": {{Port: 5061, Target: "server2.example.com"}},
		"_sips._tcp.closed.example":  {{Target: "."}},
		"_sips._tcp.gone.example":    {{Port: 5061, Target: "nowhere.example"}, {Port: 5061, Target: "server2.example.com"}},
		"_sips._tcp.lost.example":    {{Port: 5061, Target: "nowhere.example"}},
	},
	IP: map[string][]netip.Addr{
		"server1.example.com": ips("2001:db8::1", "192.0.2.1"),
		"server2.example.com": ips("192.0.2.2"),
		"edge.direct.example": ips("192.0.2.3"),
		"bare.example":        ips("192.0.2.4"),
		"plain.example":       ips("192.0.2.5"),
		"web.example":         ips("192.0.2.6"),
		"closed.example":      ips("192.0.2.7"),
		"lost.example":        ips("192.0.2.8"),
		"shaky.example":       ips("192.0.2.9"),
		"naptrless.example":   ips("192.0.2.10"),
	},
	Err: map[string]error{
		"_sips._tcp.shaky.example": &Error{Kind: ErrTemporary, Name: "_sips._tcp.shaky.example", Err: io.EOF},
	},
}

func TestFind(t *testing.T) {
	tests := []struct {
		name  string
		q     Query
		want  string // targets, without the domain
		err   error
		asked string // only if not empty
	}{
		{
			name: "NAPTR, SRV, addresses (RFC 3263 4.1)", q: Query{Host: "Example.COM."},
			want: "tls:[2001:db8::1]:5061 (server1.example.com), tls:192.0.2.1:5061 (server1.example.com), tls:192.0.2.2:5071 (server2.example.com), " +
				"tcp:[2001:db8::1]:5060 (server1.example.com), tcp:192.0.2.1:5060 (server1.example.com)",
			asked: "NAPTR example.com, SRV _sips._tcp.example.com, IP server1.example.com, IP server2.example.com, SRV _sip._tcp.example.com, IP server1.example.com",
		},
		{
			name: "NAPTR of the lowest order that is supported", q: Query{Host: "example.com", Supported: []Transport{UDP}},
			want: "udp:192.0.2.2:5060 (server2.example.com)",
		},
		{
			name: "NAPTR, secure", q: Query{Host: "example.com", Secure: true, Family: 4},
			want: "tls:192.0.2.1:5061 (server1.example.com), tls:192.0.2.2:5071 (server2.example.com)",
		},
		{
			name: "NAPTR straight to an address", q: Query{Host: "direct.example"},
			want: "tls:192.0.2.3:5061 (edge.direct.example)",
		},
		{
			name: "secure, but NAPTR has none: SRV, then the domain itself, never UDP", q: Query{Host: "plain.example", Secure: true},
			want:  "tls:192.0.2.5:5061 (plain.example)",
			asked: "NAPTR plain.example, SRV _sips._tcp.plain.example, IP plain.example",
		},
		{
			name: "no NAPTR: SRV in the order of the client", q: Query{Host: "srvonly.example"},
			want:  "tls:192.0.2.2:5061 (server2.example.com), udp:192.0.2.2:5060 (server2.example.com)",
			asked: "NAPTR srvonly.example, SRV _sips._tcp.srvonly.example, IP server2.example.com, SRV _sip._tcp.srvonly.example, SRV _sip._udp.srvonly.example, IP server2.example.com",
		},
		{
			name: "the same in another order", q: Query{Host: "srvonly.example", Supported: []Transport{UDP, TLS}},
			want: "udp:192.0.2.2:5060 (server2.example.com), tls:192.0.2.2:5061 (server2.example.com)",
		},
		{name: "nothing but an address: UDP", q: Query{Host: "bare.example"}, want: "udp:192.0.2.4:5060 (bare.example)"},
		{name: "nothing but an address, secure", q: Query{Host: "bare.example", Secure: true}, want: "tls:192.0.2.4:5061 (bare.example)"},
		{name: "nothing but an address, no UDP", q: Query{Host: "bare.example", Supported: []Transport{TCP}}, want: "tcp:192.0.2.4:5060 (bare.example)"},
		{
			name: "transport: no NAPTR", q: Query{Host: "example.com", Transport: UDP},
			want:  "udp:192.0.2.2:5060 (server2.example.com)",
			asked: "SRV _sip._udp.example.com, IP server2.example.com",
		},
		{
			name: "transport without SRV", q: Query{Host: "bare.example", Transport: TLS},
			want:  "tls:192.0.2.4:5061 (bare.example)",
			asked: "SRV _sips._tcp.bare.example, IP bare.example",
		},
		{
			name: "port: addresses only", q: Query{Host: "server1.example.com", Port: 5080},
			want:  "udp:[2001:db8::1]:5080 (server1.example.com), udp:192.0.2.1:5080 (server1.example.com)",
			asked: "IP server1.example.com",
		},
		{name: "port and transport", q: Query{Host: "server2.example.com", Port: 5080, Transport: TCP}, want: "tcp:192.0.2.2:5080 (server2.example.com)"},
		{name: "port, secure", q: Query{Host: "server2.example.com", Port: 5060, Secure: true}, want: "tls:192.0.2.2:5060 (server2.example.com)"},
		{name: "family", q: Query{Host: "server1.example.com", Port: 5060, Family: 6}, want: "udp:[2001:db8::1]:5060 (server1.example.com)"},

		// Addresses (RFC 3263 §4.1: UDP for sip, TLS for sips)
		{name: "IPv4", q: Query{Host: "192.0.2.77"}, want: "udp:192.0.2.77:5060"},
		{name: "IPv4, secure", q: Query{Host: "192.0.2.77", Secure: true}, want: "tls:192.0.2.77:5061"},
		{name: "IPv6 in brackets with port and transport", q: Query{Host: "[::1]", Port: 5061, Transport: TLS}, want: "tls:[::1]:5061"},
		{name: "IPv6 without brackets", q: Query{Host: "2001:db8::2", Transport: TCP}, want: "tcp:[2001:db8::2]:5060"},
		{name: "IPv4 in IPv6", q: Query{Host: "::ffff:192.0.2.77"}, want: "udp:192.0.2.77:5060"},
		{name: "address of the other family", q: Query{Host: "192.0.2.77", Family: 6}, err: ErrNotFound},

		// WebSocket (RFC 7118 §8)
		{name: "ws", q: Query{Host: "bare.example", Transport: WS, Supported: []Transport{WS, WSS}}, want: "ws:192.0.2.4:80 (bare.example)",
			asked: "SRV _sip._ws.bare.example, IP bare.example"},
		{name: "wss", q: Query{Host: "bare.example", Transport: WSS, Supported: []Transport{WS, WSS}}, want: "wss:192.0.2.4:443 (bare.example)"},
		{name: "sips with transport=ws", q: Query{Host: "bare.example", Transport: WS, Secure: true, Supported: []Transport{WS, WSS}}, want: "wss:192.0.2.4:443 (bare.example)"},
		{name: "ws, SRV", q: Query{Host: "web.example", Transport: WS, Supported: []Transport{WS}, Family: 4}, want: "ws:192.0.2.1:8080 (server1.example.com)"},
		{name: "ws, NAPTR", q: Query{Host: "web.example", Supported: []Transport{WS, WSS}, Family: 4},
			want: "wss:192.0.2.1:8443 (server1.example.com), ws:192.0.2.1:8080 (server1.example.com)"},
		{name: "ws, NAPTR, secure", q: Query{Host: "web.example", Supported: []Transport{WS, WSS}, Secure: true, Family: 4}, want: "wss:192.0.2.1:8443 (server1.example.com)"},

		// No way down
		{name: "secure and transport=tcp is TLS", q: Query{Host: "bare.example", Secure: true, Transport: TCP}, want: "tls:192.0.2.4:5061 (bare.example)"},
		{name: "secure and transport=udp", q: Query{Host: "bare.example", Secure: true, Transport: UDP}, err: ErrInsecure},
		{name: "secure, but nothing secure supported", q: Query{Host: "bare.example", Secure: true, Supported: []Transport{UDP, TCP, WS}}, err: ErrInsecure},
		{name: "transport not supported", q: Query{Host: "bare.example", Transport: UDP, Supported: []Transport{TLS}}, err: ErrUnsupported},
		{name: "transport unknown", q: Query{Host: "bare.example", Transport: "sctp"}, err: ErrUnsupported},
		{name: "nothing supported", q: Query{Host: "bare.example", Supported: []Transport{}}, err: ErrUnsupported},

		// What is not there
		{name: "unknown domain", q: Query{Host: "missing.example"}, err: ErrNotFound},
		{name: "no host", q: Query{}, err: ErrNotFound},
		{name: "one SRV target without address", q: Query{Host: "gone.example", Secure: true}, want: "tls:192.0.2.2:5061 (server2.example.com)"},
		{name: "no SRV target with address: the domain itself is not tried", q: Query{Host: "lost.example", Secure: true}, err: ErrNotFound},
		{name: "decidedly not available (RFC 2782)", q: Query{Host: "closed.example", Secure: true}, err: ErrNotFound},
		{name: "SRV not answered: the domain itself is not tried", q: Query{Host: "shaky.example", Secure: true}, err: ErrTemporary},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			r := &recorder{Resolver: &zone}
			f := Finder{Resolver: r, Intn: func(int) int { return 0 }}
			targets, err := f.Find(t.Context(), tt.q)
			if !errors.Is(err, tt.err) || (err == nil) == (len(targets) == 0) {
				t.Fatalf("targets %v, error %v, want error %v", targets, err, tt.err)
			}
			var got []string
			for _, target := range targets {
				got = append(got, target.String())
				if want := strings.ToLower(strings.Trim(tt.q.Host, "[].")); target.Domain != want {
					t.Errorf("domain %q, want %q", target.Domain, want)
				}
			}
			if s := strings.Join(got, ", "); s != tt.want {
				t.Errorf("got  %s\nwant %s", s, tt.want)
			}
			if s := strings.Join(r.asked, ", "); tt.asked != "" && s != tt.asked {
				t.Errorf("asked %s\nwant  %s", s, tt.asked)
			}
		})
	}
}

// A resolver that does not know NAPTR, as in many a home router, is no obstacle.
func TestFindWithoutNAPTR(t *testing.T) {
	r := &Static{SRV: zone.SRV, IP: zone.IP, Err: map[string]error{"srvonly.example": io.ErrUnexpectedEOF}}
	targets, err := (&Finder{Resolver: r}).Find(t.Context(), Query{Host: "srvonly.example"})
	if err != nil || len(targets) != 2 {
		t.Errorf("targets %v, error %v", targets, err)
	}
}

func TestFindErrors(t *testing.T) {
	r := &Static{Err: map[string]error{"a.example": io.ErrUnexpectedEOF}}
	_, err := (&Finder{Resolver: r}).Find(t.Context(), Query{Host: "a.example", Port: 5060})
	var e *Error
	if !errors.As(err, &e) || !e.Temporary() || e.Name != "a.example" || !errors.Is(err, ErrTemporary) || !errors.Is(err, io.ErrUnexpectedEOF) {
		t.Errorf("error %v (%T)", err, err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := (&Finder{Resolver: &zone}).Find(ctx, Query{Host: "example.com"}); !errors.Is(err, context.Canceled) {
		t.Errorf("error %v", err)
	}
}

// The running sum of RFC 2782, drawn by drawn.
func TestWeights(t *testing.T) {
	records := []SRV{
		{Priority: 2, Weight: 9, Target: "last"},
		{Priority: 1, Weight: 1, Target: "one"},
		{Priority: 1, Weight: 3, Target: "three"},
		{Priority: 1, Weight: 0, Target: "zero"},
	}
	tests := []struct {
		draws []int // each from 0 to the sum of the weights left
		want  string
	}{
		{[]int{0, 0, 0, 0}, "zero one three last"},
		{[]int{1, 0, 0, 0}, "one zero three last"},
		{[]int{2, 0, 0, 0}, "three zero one last"},
		{[]int{4, 1, 0, 9}, "three one zero last"},
	}
	for _, tt := range tests {
		var sums []int
		i := 0
		f := Finder{Intn: func(n int) int {
			sums = append(sums, n)
			i++
			return tt.draws[i-1]
		}}
		var got []string
		for _, r := range f.order(records) {
			got = append(got, r.Target)
		}
		if s := strings.Join(got, " "); s != tt.want || sums[0] != 5 || sums[3] != 10 {
			t.Errorf("draws %v: %s, want %s (drawn from %v)", tt.draws, s, tt.want, sums)
		}
	}
}

// The shares that weights are for.
func TestWeightShares(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 2))
	f := Finder{Intn: random.IntN}
	first := map[string]int{}
	const n = 20000
	for range n {
		first[f.order([]SRV{{Weight: 10, Target: "a"}, {Weight: 30, Target: "b"}, {Weight: 60, Target: "c"}, {Weight: 0, Target: "d"}})[0].Target]++
	}
	for target, share := range map[string]float64{"a": .1, "b": .3, "c": .6, "d": .01} {
		if got := float64(first[target]) / n; got < share-.02 || got > share+.02 {
			t.Errorf("%s comes first in %.3f of all draws, want about %.2f", target, got, share)
		}
	}
}

func TestBounds(t *testing.T) {
	r := &Static{SRV: map[string][]SRV{}, IP: map[string][]netip.Addr{}}
	for _, t := range []Transport{TLS, TCP, UDP} {
		for i := range 200 {
			host := fmt.Sprintf("%s%d.example", t, i)
			r.SRV[t.srvName("big.example")] = append(r.SRV[t.srvName("big.example")], SRV{Port: 5060, Target: host})
			for j := range 100 {
				r.IP[host] = append(r.IP[host], netip.AddrFrom4([4]byte{10, byte(len(t)), byte(i), byte(j)}))
			}
		}
	}
	asked := &recorder{Resolver: r}
	targets, err := (&Finder{Resolver: asked}).Find(t.Context(), Query{Host: "big.example"})
	if err != nil || len(targets) != maxTargets || len(asked.asked) > 1+3+maxHosts {
		t.Errorf("%d targets, %d questions, error %v", len(targets), len(asked.asked), err)
	}
}

// FuzzSecure lets a zone say anything about a domain that must be reached securely.
func FuzzSecure(f *testing.F) {
	f.Add("SIP+D2U", "s", "_sip._udp.a.example", "b.example", uint16(5060), uint8(0))
	f.Add("SIPS+D2T", "s", "_sips._tcp.a.example", ".", uint16(0), uint8(1))
	f.Add("SIPS+D2T", "a", "192.0.2.1", "", uint16(1), uint8(3))
	f.Fuzz(func(t *testing.T, service, flags, replacement, target string, port uint16, bits uint8) {
		anything := []SRV{{Port: port, Target: target}, {Port: port, Target: "c.example", Weight: uint16(bits)}}
		r := &Static{
			NAPTR: map[string][]NAPTR{"a.example": {{Flags: flags, Service: service, Replacement: replacement}}},
			SRV:   map[string][]SRV{hostName(replacement): anything, "_sip._udp.a.example": anything, "_sip._tcp.a.example": anything, "_sip._ws.a.example": anything},
			IP:    map[string][]netip.Addr{"a.example": ips("192.0.2.1"), "c.example": ips("192.0.2.2"), hostName(target): ips("192.0.2.3")},
		}
		q := Query{Host: "a.example", Secure: true, Transport: []Transport{"", TCP, TLS, WSS, WS, UDP}[bits%6], Supported: []Transport{UDP, TCP, WS, TLS, WSS}}
		targets, err := (&Finder{Resolver: r}).Find(t.Context(), q)
		if (err == nil) != (len(targets) > 0) {
			t.Fatalf("targets %v, error %v", targets, err)
		}
		for _, target := range targets {
			if !target.Transport.Secure() || target.Domain != "a.example" || !target.Addr.IsValid() || target.Addr.Port() == 0 {
				t.Fatalf("target %+v", target)
			}
		}
	})
}

func TestSplitHostPort(t *testing.T) {
	tests := []struct {
		in   string
		host string
		port uint16
		bad  bool
	}{
		{in: "example.com", host: "example.com"},
		{in: "example.com.:5061", host: "example.com.", port: 5061},
		{in: "192.0.2.1", host: "192.0.2.1"},
		{in: "192.0.2.1:5060", host: "192.0.2.1", port: 5060},
		{in: "::1", host: "::1"},
		{in: "[::1]", host: "::1"},
		{in: "[::1]:5061", host: "::1", port: 5061},
		{in: "", bad: true},
		{in: ":5060", bad: true},
		{in: "example.com:", bad: true},
		{in: "example.com:0", bad: true},
		{in: "example.com:65536", bad: true},
		{in: "example.com:+1", bad: true},
		{in: "example.com:50:60", bad: true},
		{in: "[192.0.2.1]:5060", bad: true},
		{in: "[::1", bad: true},
		{in: "[::1]5061", bad: true},
		{in: "sip:example.com", bad: true},
		{in: "a..example", bad: true},
		{in: "exa mple.com", bad: true},
		{in: strings.Repeat("a", 64) + ".com", bad: true},
	}
	for _, tt := range tests {
		host, port, err := SplitHostPort(tt.in)
		if host != tt.host || port != tt.port || (err != nil) != tt.bad {
			t.Errorf("%q: %q, %d, %v", tt.in, host, port, err)
		}
	}
}

func FuzzSplitHostPort(f *testing.F) {
	for _, s := range []string{"example.com:5061", "[::1]:5061", "::1", "192.0.2.1"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		host, port, err := SplitHostPort(s)
		if err != nil {
			if host != "" || port != 0 {
				t.Fatalf("%q, %d beside an error", host, port)
			}
			return
		}
		again := host
		if port != 0 {
			again = fmt.Sprintf("%s:%d", host, port)
			if strings.Contains(host, ":") {
				again = fmt.Sprintf("[%s]:%d", host, port)
			}
		}
		if h, p, err := SplitHostPort(again); h != host || p != port || err != nil {
			t.Fatalf("%q is %q, %d; %q is %q, %d, %v", s, host, port, again, h, p, err)
		}
	})
}

func TestTransportNames(t *testing.T) {
	// RFC 3263 §4.1, RFC 7118 §8
	services := []string{"SIP+D2U", "SIP+D2T", "SIPS+D2T", "SIP+D2W", "SIPS+D2W", ""}
	var got []string
	for _, tr := range []Transport{UDP, TCP, TLS, WS, WSS, "sctp"} {
		got = append(got, tr.service())
		if (tr.DefaultPort() == 0) != (tr == "sctp") || (tr.srvName("a") == "") != (tr == "sctp") {
			t.Errorf("%s: port %d, name %q", tr, tr.DefaultPort(), tr.srvName("a"))
		}
	}
	if !slices.Equal(got, services) {
		t.Errorf("services %v", got)
	}
}
