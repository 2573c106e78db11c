package sip

import (
	"errors"
	"fmt"
	"net/netip"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hoorn-phone/hoorn/internal/flow"
	"github.com/hoorn-phone/hoorn/internal/locate"
	"github.com/hoorn-phone/hoorn/internal/memnet"
	"github.com/hoorn-phone/hoorn/internal/sipwire"
)

// datagrams counts what of a kind goes from the phone to the server.
type datagrams struct {
	stun, ping atomic.Int32
	muteSTUN   atomic.Bool // STUN answers vanish
}

// udpAccount runs a test with an account over UDP and its scripted server,
// whose 200 has these lines.
func udpAccount(t *testing.T, line string, fn func(t *testing.T, f *far, ua *UA, d *datagrams)) {
	synctest.Test(t, func(t *testing.T) {
		n := memnet.New()
		phone, host := n.Host("10.0.0.1"), n.Host("10.0.0.2")
		d := &datagrams{}
		n.ImpairAll(memnet.Impairment{Drop: func(_, to netip.AddrPort, b []byte) bool {
			switch toServer := to.Port() == 5060; {
			case len(b) >= 20 && b[0] == 0 && toServer:
				d.stun.Add(1)
			case string(b) == "\r\n\r\n" && toServer:
				d.ping.Add(1)
			case len(b) >= 20 && b[0] == 1:
				return d.muteSTUN.Load()
			}
			return false
		}})
		f := newFar(t, host, nil, "udp:10.0.0.2:5060")
		ua := newUA(t, &Config{
			Account: Account{AOR: "sip:alice@example.com", Password: "secret", Proxy: "sip:10.0.0.2;transport=udp"},
			Network: Network{Dial: phone.Dial, Listen: phone.Listen, ListenPacket: phone.ListenPacket, Resolver: &locate.Static{}},
		})
		outcome := registering(t.Context(), ua)
		f.request("REGISTER").granted(3600, line)
		if got := <-outcome; got.err != nil {
			t.Fatal(got.err)
		}
		fn(t, f, ua, d)
	})
}

// RFC 5626 §4.4.2: STUN keeps a UDP flow alive and notices its death, where the
// server has promised to answer.
func TestKeepAliveSTUN_RFC5626_4_4_2(t *testing.T) {
	udpAccount(t, "Require: outbound", func(t *testing.T, f *far, ua *UA, d *datagrams) {
		pass(5 * time.Minute)
		if stun, ping := d.stun.Load(), d.ping.Load(); stun < 10 || stun > 13 || ping != 0 {
			t.Errorf("%d Binding requests and %d CRLFs in five minutes", stun, ping)
		}
		d.muteSTUN.Store(true)
		begin := time.Now()
		again := f.request("REGISTER")
		if took := time.Since(begin); took > 29*time.Second+39500*time.Millisecond {
			t.Errorf("noticed after %v", took)
		}
		d.muteSTUN.Store(false)
		again.granted(3600, "Require: outbound")
		synctest.Wait()
		var dead *flow.TimeoutError
		found := false
		for _, e := range ua.reg.log.events {
			found = found || e.State == Reconnecting && errors.As(e.Err, &dead)
		}
		if !found || !ua.reg.Info().Registered {
			t.Errorf("events %+v", ua.reg.log.events)
		}
	})
}

// A server that promises nothing gets CRLFs, for the NATs on the way.
func TestKeepAliveCRLF(t *testing.T) {
	udpAccount(t, "X-None: 1", func(t *testing.T, _ *far, ua *UA, d *datagrams) {
		pass(5 * time.Minute)
		// Nobody answers, and nobody has to.
		if stun, ping := d.stun.Load(), d.ping.Load(); ping < 10 || ping > 13 || stun != 0 {
			t.Errorf("%d CRLFs and %d Binding requests in five minutes", ping, stun)
		}
		if !ua.reg.Info().Registered {
			t.Error("not registered")
		}
	})
}

// A call over every transport of an account, whose server reads and writes
// what RFC 3261 and RFC 7118 ask for; over IPv6 too.
func TestTransports(t *testing.T) {
	for _, tt := range []struct {
		tr              Transport
		phone, server   string
		via, contactHas string
	}{
		{UDP, "10.0.0.1", "10.0.0.2", "SIP/2.0/UDP 10.0.0.1:", "<sip:alice@10.0.0.1:"},
		{TCP, "10.0.0.1", "10.0.0.2", "SIP/2.0/TCP 10.0.0.1:", ";transport=tcp>"},
		{TLS, "10.0.0.1", "10.0.0.2", "SIP/2.0/TLS 10.0.0.1:", ";transport=tls>"},
		{WS, "10.0.0.1", "10.0.0.2", "SIP/2.0/WS 10.0.0.1:", ";transport=ws>"},
		{WSS, "10.0.0.1", "10.0.0.2", "SIP/2.0/WSS 10.0.0.1:", ";transport=ws>"}, // RFC 7118 §5.2.4
		{UDP, "2001:db8::1", "2001:db8::2", "SIP/2.0/UDP [2001:db8::1]:", "<sip:alice@[2001:db8::1]:"},
		{TLS, "2001:db8::1", "2001:db8::2", "SIP/2.0/TLS [2001:db8::1]:", "<sip:alice@[2001:db8::1]:"},
		{WSS, "2001:db8::1", "2001:db8::2", "SIP/2.0/WSS [2001:db8::1]:", "<sip:alice@[2001:db8::1]:"},
	} {
		t.Run(fmt.Sprint(tt.tr, " ", tt.phone), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := newServer(t) // for its certificates
				n := memnet.New()
				phone, host := n.Host(tt.phone), n.Host(tt.server)
				where := netip.AddrPortFrom(netip.MustParseAddr(tt.server), 5070)
				f := newFar(t, host, s.tls, fmt.Sprintf("%s:%s", tt.tr, where))
				ua := newUA(t, &Config{
					Account: Account{AOR: "sip:alice@example.com", Proxy: fmt.Sprintf("sip:example.com:5070;transport=%s", tt.tr)},
					TLS:     &TLSConfig{RootCAs: s.ca.Pool()},
					Network: Network{
						Dial: phone.Dial, Listen: phone.Listen, ListenPacket: phone.ListenPacket,
						Resolver: &locate.Static{IP: map[string][]netip.Addr{"example.com": {where.Addr()}}},
					},
				})
				outcome := registering(t.Context(), ua)
				reg := f.request("REGISTER")
				if v := sipwire.Header(reg.req, "Via"); !strings.HasPrefix(v, tt.via) {
					t.Errorf("Via %s", v)
				}
				if c := contactOf(reg.req); !strings.Contains(c, tt.contactHas) {
					t.Errorf("Contact %s", c)
				}
				reg.granted(3600)
				got := <-outcome
				if got.err != nil {
					t.Fatal(got.err)
				}
				if fi := got.reg.Info().Flow; fi.Transport != tt.tr || fi.Remote != where.String() || (fi.TLSVersion != 0) != tt.tr.Secure() {
					t.Errorf("flow %+v", fi)
				}
				dialled := make(chan *Call, 1)
				go func() {
					c, err := ua.Dial(t.Context(), "bob", nil)
					if err != nil {
						t.Error(err)
					}
					dialled <- c
				}()
				invite := f.request("INVITE")
				body := string(invite.req.Body())
				if want := map[bool]string{true: "c=IN IP6 2001:db8::1\r\n", false: "c=IN IP4 10.0.0.1\r\n"}[strings.Contains(tt.phone, ":")]; !strings.Contains(body, want) {
					t.Errorf("the offer: %s", body)
				}
				invite.reply(180)
				invite.reply(200, "Contact: <sip:bob@example.com>", sdpBody)
				f.request("ACK")
				c := <-dialled
				if c == nil {
					return
				}
				go c.Hangup(t.Context())
				f.request("BYE").reply(200)
				if err := c.Wait(t.Context()); err != nil {
					t.Error(err)
				}
			})
		})
	}
}

// A server that fails is set aside for as long as it says, and tried again
// after.
func TestAside(t *testing.T) {
	bubble(t, "503 with Retry-After", func(t *testing.T, s *server) {
		s.listen("10.0.0.3:5061", true)
		cfg := s.config()
		cfg.Network.Resolver.(*locate.Static).IP["example.com"] = []netip.Addr{netip.MustParseAddr("10.0.0.2"), netip.MustParseAddr("10.0.0.3")}
		ua, outcome := start(t, cfg)
		at := func(c *conn) string { return c.c.LocalAddr().String() }
		c := s.accept()
		if at(c) != "10.0.0.2:5061" {
			t.Fatalf("went to %s first", at(c))
		}
		c.reply(c.request("REGISTER"), 503, "Retry-After: 600")
		second := s.accept()
		if at(second) != "10.0.0.3:5061" {
			t.Fatalf("then to %s", at(second))
		}
		second.granted(second.request("REGISTER"), 3600)
		if err := <-outcome; err != nil {
			t.Fatal(err)
		}
		pass(5 * time.Minute)
		// The second server is lost while the first wants to be left alone:
		// the one that is free first comes first.
		second.c.Close()
		third := s.accept()
		if at(third) != "10.0.0.3:5061" {
			t.Errorf("after five minutes it went to %s", at(third))
		}
		third.granted(third.request("REGISTER"), 3600)
		pass(20 * time.Minute)
		third.c.Close()
		fourth := s.accept()
		if at(fourth) != "10.0.0.2:5061" {
			t.Errorf("after 25 minutes it went to %s", at(fourth))
		}
		fourth.granted(fourth.request("REGISTER"), 3600)
		_ = ua
	})
	bubble(t, "a call that the only server refuses with 503", func(t *testing.T, s *server) {
		ua, c := registered(t, s, s.config(), 3600)
		result := make(chan error, 1)
		go func() { _, err := ua.Dial(t.Context(), "bob", nil); result <- err }()
		c.reply(c.request("INVITE"), 503, "Retry-After: 30")
		c.request("ACK")
		var se *StatusError
		if err := <-result; !errors.As(err, &se) || se.Code != 503 || se.RetryAfter != 30*time.Second {
			t.Errorf("%v", err)
		}
		c.quiet(time.Minute) // the connection is the same, and was not registered anew
	})
	bubble(t, "a call that the only server does not answer", func(t *testing.T, s *server) {
		ua, c := registered(t, s, s.config(), 3600)
		begin := time.Now()
		result := make(chan error, 1)
		go func() { _, err := ua.Dial(t.Context(), "bob", nil); result <- err }()
		c.request("INVITE")
		var te *TimeoutError
		if err := <-result; !errors.As(err, &te) || !te.Timeout() || !te.Temporary() || te.Error() == "" {
			t.Errorf("%v", err)
		}
		after(t, begin, 32*time.Second)
	})
	bubble(t, "a connection that is lost with a call under way", func(t *testing.T, s *server) {
		ua, c := registered(t, s, s.config(), 3600)
		pass(time.Minute)
		call, err := ua.Start(t.Context(), "bob", nil)
		if err != nil {
			t.Fatal(err)
		}
		c.reply(c.request("INVITE"), 180)
		synctest.Wait()
		c.c.Close()
		// It rings somewhere; there is no telling whether it still does.
		if err := call.Wait(t.Context()); !errors.Is(err, ErrNoFlow) {
			t.Errorf("%v", err)
		}
	})
}

// Where the requests of a direct account's dialogs go (RFC 3261 §12.2.1.1).
func TestDirectDialog(t *testing.T) {
	for _, tt := range []struct {
		name    string
		contact string // in the 200 that comes from 203.0.113.2:5060
		route   string
		at      string // where ACK and BYE come
	}{
		{"the same place", "<sip:bob@203.0.113.2>", "", "203.0.113.2:5060"},
		{"another port", "<sip:bob@203.0.113.2:5080>", "", "203.0.113.2:5080"},
		{"another host", "<sip:bob@203.0.113.3>", "", "203.0.113.3:5060"},
		{"a proxy on the way", "<sip:bob@203.0.113.9>", "<sip:203.0.113.3:5060;lr>", "203.0.113.3:5060"},
		{"behind a NAT", "<sip:bob@192.168.1.7:5060>", "", "203.0.113.2:5060"},
		{"a name", "<sip:bob@phone.invalid>", "", "203.0.113.2:5060"},
		{"over TCP from now on", "<sip:bob@203.0.113.3;transport=tcp>", "", "tcp"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				n := memnet.New()
				phone := n.Host("203.0.113.1")
				two, three := n.Host("203.0.113.2"), n.Host("203.0.113.3")
				peers := map[string]*far{
					"203.0.113.2:5060": newFar(t, two, nil, "udp:203.0.113.2:5060"),
					"203.0.113.2:5080": newFar(t, two, nil, "udp:203.0.113.2:5080"),
					"203.0.113.3:5060": newFar(t, three, nil, "udp:203.0.113.3:5060"),
					"tcp":              newFar(t, three, nil, "tcp:203.0.113.3:5060"),
				}
				ua := newUA(t, &Config{
					Account: Account{AOR: "sip:alice@203.0.113.1", Direct: true, Transport: UDP},
					Listen:  []string{"udp:203.0.113.1:5060"},
					Network: Network{Dial: phone.Dial, Listen: phone.Listen, ListenPacket: phone.ListenPacket, Resolver: &locate.Static{}},
				})
				dialled := make(chan *Call, 1)
				go func() {
					c, err := ua.Dial(t.Context(), "sip:bob@203.0.113.2;transport=udp", nil)
					if err != nil {
						t.Error(err)
					}
					dialled <- c
				}()
				lines := []string{"Contact: " + tt.contact}
				if tt.route != "" {
					lines = append(lines, "Record-Route: "+tt.route)
				}
				peers["203.0.113.2:5060"].request("INVITE").reply(200, append(lines, sdpBody)...)
				c := <-dialled
				if c == nil {
					return
				}
				peers[tt.at].request("ACK")
				go c.Hangup(t.Context())
				peers[tt.at].request("BYE").reply(200)
				if err := c.Wait(t.Context()); err != nil {
					t.Error(err)
				}
			})
		})
	}
	// A stream is made from a port on which nobody listens: the Contact names
	// the one where somebody does.
	for _, listen := range []string{"tcp:10.0.0.1:5060", "tcp:0.0.0.0:5060"} {
		synctest.Test(t, func(t *testing.T) {
			n := memnet.New()
			phone := n.Host("10.0.0.1")
			peer := newFar(t, n.Host("10.0.0.2"), nil, "tcp:10.0.0.2:5060")
			ua := newUA(t, &Config{
				Account: Account{AOR: "sip:alice@10.0.0.1", Direct: true, Transport: TCP},
				Listen:  []string{listen},
				Network: Network{Dial: phone.Dial, Listen: phone.Listen, ListenPacket: phone.ListenPacket},
			})
			go ua.Dial(t.Context(), "sip:bob@10.0.0.2;transport=tcp", nil)
			invite := peer.request("INVITE")
			if got, want := contactOf(invite.req), "<sip:alice@10.0.0.1:5060;transport=tcp>"; got != want {
				t.Errorf("listening on %s: Contact %s, want %s", listen, got, want)
			}
			invite.reply(486)
			peer.request("ACK")
		})
	}
}

// Connections of a direct account that nobody needs are closed when there are
// too many, and forgotten when they end.
func TestDirectFlowsBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := memnet.New()
		phone, host := n.Host("10.0.0.1"), n.Host("10.0.0.2")
		peer := newFar(t, host, nil, "tcp:10.0.0.2:5060", "tcp:10.0.0.2:5070")
		ua := newUA(t, &Config{
			Account: Account{AOR: "sip:alice@10.0.0.1", Direct: true, Transport: TCP},
			Network: Network{Dial: phone.Dial, Listen: phone.Listen, ListenPacket: phone.ListenPacket},
		})
		ask := func(port int) received {
			go ua.Options(t.Context(), fmt.Sprintf("sip:bob@10.0.0.2:%d;transport=tcp", port))
			r := peer.request("OPTIONS")
			r.reply(200)
			synctest.Wait()
			return r
		}
		one := ask(5060)
		if again := ask(5060); again.flow != one.flow {
			t.Error("another connection to the same place")
		}
		one.flow.Close(nil)
		pass(time.Second)
		ua.ep.Run(t.Context(), func(time.Time) {
			if len(ua.direct) != 0 {
				t.Error("a connection that has ended is remembered")
			}
		})
		one = ask(5060)
		ua.ep.Run(t.Context(), func(time.Time) {
			for i := range maxDirect {
				ua.direct[hop{port: uint16(i), host: "full"}] = ua.direct[hop{"tcp", "10.0.0.2", 5060, false}]
			}
		})
		ask(5070)
		ua.ep.Run(t.Context(), func(time.Time) {
			if len(ua.direct) != 1 {
				t.Errorf("%d are remembered", len(ua.direct))
			}
		})
		pass(time.Second)
		if one.flow.Err() == nil {
			t.Error("the idle connection is open")
		}
	})
}

// RFC 3325 §5: only a server that is trusted asserts who calls.
func TestAssertedIdentity_RFC3325_5(t *testing.T) {
	identity := `P-Asserted-Identity: <tel:+1555>, "Real" <sip:real@example.com>`
	bubble(t, "over the account's flow", func(t *testing.T, s *server) {
		ua, c := registered(t, s, s.config(), 3600)
		for i, tt := range []struct{ line, uri, name string }{
			{identity, "sip:real@example.com", "Real"},
			{"P-Asserted-Identity: <tel:+1555>", "tel:+1555", "Bob"},
			{"P-Asserted-Identity: nonsense<", "sip:bob@example.com;user=phone", "Bob"},
			{"X-None: 1", "sip:bob@example.com;user=phone", "Bob"},
		} {
			c.ask("INVITE", fmt.Sprint("x", i), fmt.Sprint("b", i), 1, "", sdpBody, tt.line)
			in, err := ua.Accept(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			if in.Remote() != (Party{tt.uri, tt.name}) {
				t.Errorf("%s: %+v", tt.line, in.Remote())
			}
			if in.Local().URI != "sip:alice@example.com" || in.Direction() != Incoming || in.ID() != fmt.Sprint("x", i) {
				t.Errorf("local %+v, %v, %s", in.Local(), in.Direction(), in.ID())
			}
			in.Reject(t.Context(), 486, Reason{Protocol: "Q.850", Cause: 17})
			if r := c.response(486); sipwire.Header(r, "Reason") != "Q.850;cause=17" {
				t.Errorf("Reason %q", sipwire.Header(r, "Reason"))
			}
			c.ask("ACK", fmt.Sprint("x", i), fmt.Sprint("b", i), 1, "", "")
		}
	})
	bubble(t, "from a stranger", func(t *testing.T, s *server) {
		cfg := s.config()
		cfg.AnySource = true
		cfg.Listen = []string{"tcp:10.0.0.1:5060"}
		ua, _ := registered(t, s, cfg, 3600)
		if a := ua.Addrs(); len(a) != 1 || a[0].String() != "10.0.0.1:5060" {
			t.Errorf("listens on %v", a)
		}
		raw, err := s.host.Dial(t.Context(), "tcp", "10.0.0.1:5060")
		if err != nil {
			t.Fatal(err)
		}
		stranger := &conn{t: t, c: raw, in: make(chan sipMessage, 8)}
		go stranger.read()
		defer raw.Close()
		stranger.ask("INVITE", "x", "b", 1, "", sdpBody, identity)
		in, err := ua.Accept(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if in.Remote().Name != "Bob" {
			t.Errorf("believed %+v", in.Remote())
		}
	})
}

// The resolver is asked for what DNS knows; its failure is the app's to see.
func TestResolverFails(t *testing.T) {
	bubble(t, "no such domain", func(t *testing.T, s *server) {
		cfg := s.config()
		cfg.Account.Proxy = "sip:nowhere.example.com;transport=tls"
		ua := newUA(t, cfg)
		if _, err := ua.Register(t.Context()); !errors.Is(err, ErrNotFound) {
			t.Errorf("Register: %v", err)
		}
		if _, err := ua.Dial(t.Context(), "bob", nil); !errors.Is(err, ErrNotFound) {
			t.Errorf("Dial: %v", err)
		}
		if _, err := ua.Options(t.Context(), ""); !errors.Is(err, ErrNotFound) {
			t.Errorf("Options: %v", err)
		}
	})
}
