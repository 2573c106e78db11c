// Package xmppstage puts a client and a scripted server on an in-memory
// network, signed in, for tests of extensions in virtual time.
package xmppstage

import (
	"context"
	"crypto/tls"
	"io"
	"log/slog"
	"net"
	"net/netip"
	"time"

	"mellium.im/xmpp/jid"

	"github.com/hoorn-phone/hoorn/internal/memnet"
	"github.com/hoorn-phone/hoorn/internal/testca"
	"github.com/hoorn-phone/hoorn/xmpp"
	"github.com/hoorn-phone/hoorn/xmpp/xmpptest"
)

// T is what it needs of a *testing.T.
type T interface {
	Helper()
	Fatal(...any)
	Error(...any)
	Errorf(string, ...any)
	Context() context.Context
	Output() io.Writer
}

// Stage is a client and its server.
type Stage struct {
	T
	Client *xmpp.Client // juliet@im.example.com/balcony, without presence
	peer   *xmpptest.Peer
	listen net.Listener
	tls    *tls.Config
}

// nobody finds nothing: the client is told where to connect.
type nobody struct{ xmpp.Resolver }

func (nobody) LookupIP(context.Context, string) ([]netip.Addr, error) {
	return []netip.Addr{netip.MustParseAddr("10.0.0.2")}, nil
}

// login is the way to a session without stream management, and its roster.
const login = `
C: <stream:stream from='juliet@im.example.com' to='im.example.com' version='1.0'>
S: <stream:stream from='im.example.com' id='1' version='1.0'>
S: <stream:features><mechanisms xmlns='urn:ietf:params:xml:ns:xmpp-sasl'><mechanism>PLAIN</mechanism></mechanisms></stream:features>
C: <auth xmlns='urn:ietf:params:xml:ns:xmpp-sasl' mechanism='PLAIN'>{*}</auth>
S: <success xmlns='urn:ietf:params:xml:ns:xmpp-sasl'/>
C: <stream:stream from='juliet@im.example.com' to='im.example.com' version='1.0'>
S: <stream:stream from='im.example.com' id='2' version='1.0'>
S: <stream:features><bind xmlns='urn:ietf:params:xml:ns:xmpp-bind'/></stream:features>
C: <iq type='set' id='{bind}'><bind xmlns='urn:ietf:params:xml:ns:xmpp-bind'><resource>balcony</resource></bind></iq>
S: <iq type='result' id='{bind}'><bind xmlns='urn:ietf:params:xml:ns:xmpp-bind'><jid>juliet@im.example.com/balcony</jid></bind></iq>
C: <iq type='get' id='{roster}'><query xmlns='jabber:iq:roster'/></iq>
S: <iq type='result' id='{roster}'><query xmlns='jabber:iq:roster'><item jid='romeo@example.net' subscription='both'/></query></iq>
`

// Run signs a client in and runs a test with it; then it is closed. use, if not nil, adds extensions
// before; the script is what their Bound and the server say to each other. It is to be called in a bubble of testing/synctest.
func Run(t T, use func(*xmpp.Client) error, bound string, test func(*Stage)) {
	t.Helper()
	n := memnet.New()
	client, server := n.Host("10.0.0.1"), n.Host("10.0.0.2")
	must := func(err error) {
		if err != nil {
			t.Helper()
			t.Fatal(err)
		}
	}
	ca, err := testca.NewCA(time.Now())
	must(err)
	cert, err := ca.Issue(testca.Template{DNS: []string{"im.example.com"}})
	must(err)
	listen, err := server.Listen(t.Context(), "tcp", ":5223")
	must(err)
	defer listen.Close()
	c, err := xmpp.New(&xmpp.Config{
		Account: jid.MustParse("juliet@im.example.com/balcony"), Credentials: xmpp.Password("r0m30myr0m30"), AllowPlain: true,
		Server: "xmpps://10.0.0.2:5223", NoPresence: true, Timing: xmpp.Timing{Idle: -1}, // no pings in between
		TLS:     &xmpp.TLSConfig{RootCAs: ca.Pool()},
		Network: xmpp.Network{Dial: client.Dial, Resolver: nobody{}}, Logger: slog.New(slog.NewTextHandler(t.Output(), nil)),
	})
	must(err)
	if use != nil {
		must(use(c))
	}
	connected := make(chan error, 1)
	go func() { connected <- c.Connect(t.Context()) }()
	s := &Stage{T: t, Client: c, listen: listen, tls: &tls.Config{Certificates: []tls.Certificate{cert}}}
	s.accept(bound)
	must(<-connected)
	test(s)
	ended := make(chan error, 1)
	go func() {
		for {
			if _, err := s.peer.Next(); err != nil {
				break
			}
		}
		ended <- s.peer.Play(context.Background(), "S: </stream:stream>\nEND")
	}()
	if err := c.Close(t.Context()); err != nil {
		t.Error(err)
	}
	<-ended
	s.peer.Close()
}

// accept takes the client's next connection.
func (s *Stage) accept(bound string) {
	s.Helper()
	conn, err := s.listen.Accept()
	if err != nil {
		s.Fatal(err)
	}
	s.peer = xmpptest.NewPeer(tls.Server(conn, s.tls))
	s.Play(login + bound)
}

// Again cuts the connection and signs the client in anew: without stream management that is
// another session. The script is as that of Run.
func (s *Stage) Again(bound string) {
	s.Helper()
	s.Play("CUT")
	s.accept(bound)
}

// Play plays some lines of a script, as xmpptest.Peer has it.
func (s *Stage) Play(script string) {
	s.Helper()
	if err := s.peer.Play(s.Context(), script); err != nil {
		s.Fatal(err)
	}
}

// During does something with the client while the server plays a script, and returns what came of it.
func During[R any](s *Stage, script string, do func() (R, error)) (R, error) {
	s.Helper()
	type result struct {
		v   R
		err error
	}
	done := make(chan result, 1)
	go func() {
		v, err := do()
		done <- result{v, err}
	}()
	s.Play(script)
	r := <-done
	return r.v, r.err
}

// Do is During for what has no result but an error.
func (s *Stage) Do(script string, do func() error) error {
	s.Helper()
	_, err := During(s, script, func() (struct{}, error) { return struct{}{}, do() })
	return err
}
