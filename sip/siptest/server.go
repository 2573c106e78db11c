package siptest

import (
	"context"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"sync"
	"time"

	"github.com/hoorn-phone/hoorn/internal/digest"
	"github.com/hoorn-phone/hoorn/internal/locate"
	"github.com/hoorn-phone/hoorn/internal/testca"
	"github.com/hoorn-phone/hoorn/sip"
)

// ErrClosed is returned by methods of a server that was closed, and ErrDown
// by those that need one that is not killed.
var (
	ErrClosed = errors.New("siptest: the lab is closed")
	ErrDown   = errors.New("siptest: the lab is down")
)

// Server is a lab. Make it with [Start]. Its methods may be called from any
// goroutine.
type Server struct {
	cfg    Config
	ca     *testca.CA
	tls    *tls.Config
	auth   *digest.Server
	users  directory
	loc    location
	faults faults
	tape   tape
	loss   loss

	mu     sync.Mutex // held while the server starts, is killed or closed
	life   *life      // nil: killed
	addrs  map[sip.Transport]netip.AddrPort
	closed bool
}

// Start starts a lab. A nil Config is the zero Config.
func Start(cfg *Config) (*Server, error) {
	s := &Server{addrs: make(map[sip.Transport]netip.AddrPort)}
	if cfg != nil {
		s.cfg = *cfg
	}
	if err := s.cfg.complete(); err != nil {
		return nil, err
	}
	if s.cfg.Rand == nil {
		s.cfg.Rand = rand.Reader
	}
	s.tape.max = s.cfg.TranscriptSize
	if err := s.authority(); err != nil {
		return nil, err
	}
	algs, err := s.cfg.Auth.algorithms()
	if err != nil {
		return nil, err
	}
	s.auth = digest.NewServer(digest.ServerConfig{
		Realm: s.cfg.Auth.Realm, Algorithms: algs, QOP: s.cfg.Auth.qop(),
		Nonce:    func(random string) string { return "BroadWorksX" + random + "BW" },
		Lifetime: s.cfg.Auth.NonceLifetime, NextNonceAfter: s.cfg.Auth.NextNonceAfter,
		Lookup: s.users.credential, Rand: s.cfg.Rand,
	})
	for _, u := range s.cfg.Users {
		if err := s.AddUser(u); err != nil {
			return nil, err
		}
	}
	port := func(p uint16) netip.AddrPort { return netip.AddrPortFrom(netip.MustParseAddr(s.cfg.Addr), p) }
	s.addrs[sip.UDP], s.addrs[sip.TCP], s.addrs[sip.TLS] = port(s.cfg.UDP), port(s.cfg.TCP), port(s.cfg.TLS)
	if err := s.boot(); err != nil {
		return nil, err
	}
	return s, nil
}

// authority makes the CA and the lab's certificate.
func (s *Server) authority() error {
	ca, err := testca.NewCA(time.Now())
	if err != nil {
		return fmt.Errorf("siptest: %w", err)
	}
	cert, err := ca.Issue(testca.Template{
		CommonName: s.cfg.Domain,
		DNS:        []string{s.cfg.Domain},
		URIs:       []string{"sip:" + s.cfg.Domain},
		IPs:        []netip.Addr{netip.MustParseAddr(s.cfg.Addr)},
	})
	if err != nil {
		return fmt.Errorf("siptest: %w", err)
	}
	s.ca = ca
	s.tls = &tls.Config{Certificates: []tls.Certificate{cert}, MinVersion: tls.VersionTLS12}
	if s.cfg.TLSConfig != nil {
		s.cfg.TLSConfig(s.tls)
	}
	return nil
}

// Domain is the lab's SIP domain.
func (s *Server) Domain() string { return s.cfg.Domain }

// CA holds the lab's certificate authority alone: the roots of clients that
// connect over TLS.
func (s *Server) CA() *x509.CertPool { return s.ca.Pool() }

// CAPEM is the certificate of the lab's authority, for programs that read
// files.
func (s *Server) CAPEM() []byte { return s.ca.PEM() }

// Addr is the address the lab listens on: sip.UDP, sip.TCP or sip.TLS. It
// stays the same when the lab is restarted.
func (s *Server) Addr(t sip.Transport) netip.AddrPort {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.addrs[t]
}

// Proxy is the lab as the outbound proxy of an account: a URI for
// sip.Account.Proxy.
func (s *Server) Proxy(t sip.Transport) string {
	return fmt.Sprintf("sip:%s;transport=%s", s.Addr(t), t)
}

// AddUser adds a user. The error says what is wrong with him: mostly that his
// name is taken.
func (s *Server) AddUser(u User) error {
	if u.Password == "" {
		var b [12]byte
		if _, err := io.ReadFull(s.cfg.Rand, b[:]); err != nil {
			return fmt.Errorf("siptest: randomness: %w", err)
		}
		u.Password = hex.EncodeToString(b[:])
	}
	if _, taken := s.cfg.Services[u.Name]; taken {
		return fmt.Errorf("siptest: User.Name %q is a service number", u.Name)
	}
	if err := s.cfg.Conference.checkName(u.Name); err != nil {
		return err
	}
	_, err := s.users.add(u)
	return err
}

// Config returns the configuration of a user agent for a user, who need not
// be known by that name alone: his number will do. It registers over TLS at
// the lab's address and trusts its CA; media and a network of its own are left
// to the caller, and so is another transport (see Proxy). It panics if there
// is no such user, which is a mistake in the program.
func (s *Server) Config(user string) *sip.Config {
	u := s.users.find(user)
	if u == nil {
		panic(fmt.Sprintf("siptest: Config: no user %q", user))
	}
	return &sip.Config{
		Account: sip.Account{
			AOR:         "sip:" + u.Name + "@" + s.cfg.Domain,
			DisplayName: u.DisplayName,
			Username:    u.AuthName,
			Password:    u.Password,
			Proxy:       s.Proxy(sip.TLS),
		},
		TLS:     &sip.TLSConfig{RootCAs: s.CA()},
		Network: sip.Network{Resolver: s.Resolver()},
	}
}

// Resolver knows the lab's domain, with records for each transport
// (RFC 3263), and nothing else: for accounts that find their server by DNS.
func (s *Server) Resolver() sip.Resolver {
	const host = "as1."
	d := s.cfg.Domain
	srv := func(t sip.Transport) []locate.SRV {
		return []locate.SRV{{Priority: 10, Weight: 10, Port: s.Addr(t).Port(), Target: host + d}}
	}
	return &locate.Static{
		NAPTR: map[string][]locate.NAPTR{d: {
			{Order: 10, Preference: 10, Flags: "s", Service: "SIPS+D2T", Replacement: "_sips._tcp." + d},
			{Order: 20, Preference: 10, Flags: "s", Service: "SIP+D2T", Replacement: "_sip._tcp." + d},
			{Order: 30, Preference: 10, Flags: "s", Service: "SIP+D2U", Replacement: "_sip._udp." + d},
		}},
		SRV: map[string][]locate.SRV{
			"_sips._tcp." + d: srv(sip.TLS),
			"_sip._tcp." + d:  srv(sip.TCP),
			"_sip._udp." + d:  srv(sip.UDP),
		},
		IP: map[string][]netip.Addr{host + d: {netip.MustParseAddr(s.cfg.Addr)}},
	}
}

// Kill ends the lab as a crash would: connections close, calls are forgotten
// without a word, nobody listens any more. Registrations are kept for
// Restart. It does nothing to a lab that is down.
func (s *Server) Kill() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.kill()
}

func (s *Server) kill() {
	if l := s.life; l != nil {
		s.life = nil
		l.end()
		s.loc.unplug()
	}
}

// Restart starts the lab again on the same addresses, after a Kill if it is
// up. keep says whether it still knows who is registered; nonces are
// forgotten either way. The error is that of listening.
func (s *Server) Restart(keep bool) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return ErrClosed
	}
	s.kill()
	s.auth.Forget()
	if !keep {
		s.loc.clear()
	}
	return s.boot()
}

// Close ends the lab. Calls are forgotten without a word. It is idempotent.
func (s *Server) Close() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.closed = true
	s.kill()
	return nil
}

// run runs fn in the loop of a lab that is up.
func (s *Server) run(fn func(l *life, now time.Time)) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case s.closed:
		return ErrClosed
	case s.life == nil:
		return ErrDown
	}
	l := s.life
	return l.ep.Run(context.Background(), func(now time.Time) { fn(l, now) })
}

// Calls is how many calls are in the lab, from the caller's INVITE to the end
// of his dialog.
func (s *Server) Calls() int {
	n := 0
	_ = s.run(func(l *life, _ time.Time) {
		for _, g := range l.legs {
			if !g.m.Outgoing() {
				n++
			}
		}
	})
	return n
}
