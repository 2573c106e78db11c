package xmpptest

import (
	"context"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"strconv"
	"sync"
	"time"

	"github.com/hoorn-phone/hoorn/internal/locate"
	"github.com/hoorn-phone/hoorn/internal/sasl"
	"github.com/hoorn-phone/hoorn/internal/testca"
	"github.com/hoorn-phone/hoorn/internal/xmppstream"
	"github.com/hoorn-phone/hoorn/xmpp/xmltree"
)

// ErrClosed is returned by methods of a server that was closed.
var ErrClosed = errors.New("xmpptest: the server is closed")

var (
	errNoUsers    = errors.New("xmpptest: not two users of this server")
	errRosterFull = errors.New("xmpptest: the roster is full")
)

// Server is an XMPP server. Make it with [Start]. Its methods may be called
// from any goroutine.
//
// All that it knows is guarded by one mutex: it serves tests, in which order
// matters more than speed. Methods that are not exported are called with the
// mutex held, unless they say otherwise.
type Server struct {
	cfg    Config
	ca     *testca.CA
	tls    *tls.Config
	leaf   *x509.Certificate
	iq     tables
	listen [2]net.Listener
	cancel context.CancelFunc
	wg     sync.WaitGroup // accept loops, and connections with their writers

	mu        sync.Mutex
	closed    bool
	conns     map[*conn]bool
	users     map[string]*account
	resumable map[string]*session // by the id of their stream management
	rooms     map[string]*room    // by the local part
	pubsub    nodes               // of the service
	faults    faults
	stanzaIDs uint64
}

// Start starts a server. A nil Config is the zero Config.
func Start(cfg *Config) (*Server, error) {
	s := newServer()
	if cfg != nil {
		s.cfg = *cfg
	}
	if err := s.cfg.complete(); err != nil {
		return nil, err
	}
	for name, password := range s.cfg.Users {
		if err := s.AddUser(name, password); err != nil {
			return nil, err
		}
	}
	if err := s.authority(); err != nil {
		return nil, err
	}
	ctx, cancel := context.WithCancel(context.Background())
	s.cancel = cancel
	for i, port := range []uint16{s.cfg.StartTLS, s.cfg.DirectTLS} {
		l, err := s.cfg.Listen(ctx, "tcp", net.JoinHostPort(s.cfg.Addr, strconv.Itoa(int(port))))
		if err != nil {
			s.Close()
			return nil, fmt.Errorf("xmpptest: %w", err)
		}
		s.listen[i] = l
		s.wg.Go(func() { s.accept(ctx, l, i == 1) })
	}
	return s, nil
}

func newServer() *Server {
	return &Server{
		conns: make(map[*conn]bool), users: make(map[string]*account), resumable: make(map[string]*session),
		rooms: make(map[string]*room), iq: newTables(),
	}
}

// authority makes the CA and the server's certificate.
func (s *Server) authority() error {
	ca, err := testca.NewCA(time.Now())
	if err != nil {
		return fmt.Errorf("xmpptest: %w", err)
	}
	cert, err := ca.Issue(testca.Template{CommonName: s.cfg.Domain, DNS: []string{s.cfg.Domain, s.cfg.Rooms, s.cfg.PubSub}})
	if err != nil {
		return fmt.Errorf("xmpptest: %w", err)
	}
	s.ca = ca
	s.tls = &tls.Config{Certificates: []tls.Certificate{cert}, MinVersion: tls.VersionTLS12}
	if s.cfg.TLSConfig != nil {
		s.cfg.TLSConfig(s.tls)
	}
	if len(s.tls.Certificates) > 0 {
		c := s.tls.Certificates[0]
		if s.leaf = c.Leaf; s.leaf == nil && len(c.Certificate) > 0 {
			s.leaf, _ = x509.ParseCertificate(c.Certificate[0]) // without one there is no tls-server-end-point
		}
	}
	return nil
}

// accept is not called with the mutex held.
func (s *Server) accept(ctx context.Context, l net.Listener, direct bool) {
	for {
		raw, err := l.Accept()
		if err != nil {
			return
		}
		c := &conn{s: s, raw: raw, net: raw, direct: direct, scan: xmppstream.NewScanner(raw)}
		c.scan.Size = s.cfg.Limits.Stanza
		c.out.init()
		s.mu.Lock()
		if s.closed || len(s.conns) >= s.cfg.Limits.Connections {
			s.mu.Unlock()
			raw.Close()
			continue // until the listener is closed
		}
		s.conns[c] = true
		s.wg.Go(func() { c.serve(ctx) })
		s.mu.Unlock()
	}
}

// Domain is that of the users.
func (s *Server) Domain() string { return s.cfg.Domain }

// Rooms is the domain of the rooms.
func (s *Server) Rooms() string { return s.cfg.Rooms }

// PubSub is the domain of nodes that belong to no account.
func (s *Server) PubSub() string { return s.cfg.PubSub }

// RootCAs holds the server's certificate authority alone.
func (s *Server) RootCAs() *x509.CertPool { return s.ca.Pool() }

// CAPEM is the certificate of the server's authority, for programs that read files.
func (s *Server) CAPEM() []byte { return s.ca.PEM() }

// Addr is where streams begin in clear text and go on with STARTTLS.
func (s *Server) Addr() netip.AddrPort { return address(s.listen[0]) }

// DirectAddr is where TLS begins at once (XEP-0368).
func (s *Server) DirectAddr() netip.AddrPort { return address(s.listen[1]) }

func address(l net.Listener) netip.AddrPort {
	if a, ok := l.Addr().(*net.TCPAddr); ok {
		ap := a.AddrPort()
		return netip.AddrPortFrom(ap.Addr().Unmap(), ap.Port())
	}
	return netip.AddrPort{}
}

// Resolver knows the server's domain, with records for direct TLS (which comes first) and STARTTLS (XEP-0368), and nothing else.
func (s *Server) Resolver() locate.Resolver {
	const host = "xmpp."
	d := s.cfg.Domain
	return &locate.Static{
		SRV: map[string][]locate.SRV{
			"_xmpps-client._tcp." + d: {{Priority: 5, Weight: 1, Port: s.DirectAddr().Port(), Target: host + d}},
			"_xmpp-client._tcp." + d:  {{Priority: 10, Weight: 1, Port: s.Addr().Port(), Target: host + d}},
		},
		IP: map[string][]netip.Addr{host + d: {netip.MustParseAddr(s.cfg.Addr)}},
	}
}

// AddUser adds a user, or gives him another password. The error says what is
// wrong with his name or password.
func (s *Server) AddUser(name, password string) error {
	a, ok := parseAddr(name + "@" + s.cfg.Domain)
	if !ok || !a.isBare() || a.local == "" {
		return fmt.Errorf("xmpptest: %q is not a user's name", name)
	}
	if _, err := sasl.NewStored(sasl.SHA1, password, []byte("salt"), 1); err != nil {
		return fmt.Errorf("xmpptest: the password of %s: %w", name, err)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return ErrClosed
	}
	u := s.users[a.local]
	if u == nil {
		u = &account{name: a.local, addr: a, sessions: make(map[string]*session), blocked: make(map[addr]bool), private: make(map[string]*xmltree.Element)}
		u.roster.items = make(map[addr]*item)
		u.roster.removed = make(map[addr]int)
		s.users[a.local] = u
	}
	u.keys.set(password)
	return nil
}

// findUser finds a user by his name. It is not called with the mutex held.
func (s *Server) findUser(name string) *account {
	s.mu.Lock()
	defer s.mu.Unlock()
	a, ok := parseAddr(name + "@" + s.cfg.Domain)
	if !ok {
		return nil
	}
	return s.users[a.local]
}

// account is that of an address; nil if it is not one of ours.
func (s *Server) account(a addr) *account {
	if a.domain != s.cfg.Domain || a.local == "" {
		return nil
	}
	return s.users[a.local]
}

// session is that of a full address, or nil.
func (s *Server) session(a addr) *session {
	if u := s.account(a); u != nil {
		return u.sessions[a.resource]
	}
	return nil
}

// newID is random enough for streams, sessions and items. It needs no mutex.
func (s *Server) newID() string { return rand.Text() }

// Close ends the server as a crash would: connections close without a word. It
// returns when all its goroutines have ended, and is idempotent.
func (s *Server) Close() error {
	s.mu.Lock()
	s.closed = true
	for c := range s.conns {
		c.out.close()
		_ = c.raw.Close()
	}
	for _, sess := range s.resumable {
		sess.managed.forget(s, sess)
	}
	s.mu.Unlock()
	if s.cancel != nil {
		s.cancel()
	}
	for _, l := range s.listen {
		if l != nil {
			_ = l.Close()
		}
	}
	s.wg.Wait()
	return nil
}
