package xmpp

import (
	"context"
	"crypto/tls"
	"errors"
	"log/slog"
	"net"
	"net/netip"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"mellium.im/xmpp/jid"

	"github.com/hoorn-phone/hoorn/internal/locate"
	"github.com/hoorn-phone/hoorn/internal/memnet"
	"github.com/hoorn-phone/hoorn/internal/testca"
	"github.com/hoorn-phone/hoorn/xmpp/xmltree"
	"github.com/hoorn-phone/hoorn/xmpp/xmpptest"
)

// stage is a client and scripted servers in a bubble of virtual time.
type stage struct {
	*testing.T
	cfg    Config
	net    *memnet.Network
	host   *memnet.Host // of the client
	server *memnet.Host
	tls    *tls.Config
	listen net.Listener
}

// dns knows im.example.com alone.
type dns struct{}

func (dns) LookupSRV(_ context.Context, name string) ([]locate.SRV, error) {
	if strings.TrimSuffix(name, ".") == "_xmpp-client._tcp.im.example.com" {
		return []locate.SRV{{Target: "host.example.com", Port: 5222}}, nil
	}
	return nil, &locate.Error{Kind: locate.ErrNotFound, Name: name}
}

func (dns) LookupIP(_ context.Context, host string) ([]netip.Addr, error) {
	if host == "host.example.com" {
		return []netip.Addr{netip.MustParseAddr("10.0.0.2")}, nil
	}
	return nil, &locate.Error{Kind: locate.ErrNotFound, Name: host}
}

func (dns) LookupNAPTR(_ context.Context, name string) ([]locate.NAPTR, error) {
	return nil, &locate.Error{Kind: locate.ErrNotFound, Name: name}
}

func onStage(t *testing.T, test func(*stage)) {
	synctest.Test(t, func(t *testing.T) {
		n := memnet.New()
		s := &stage{T: t, net: n, host: n.Host("10.0.0.1"), server: n.Host("10.0.0.2")}
		ca, err := testca.NewCA(time.Now())
		if err != nil {
			t.Fatal(err)
		}
		cert, err := ca.Issue(testca.Template{DNS: []string{"im.example.com"}})
		if err != nil {
			t.Fatal(err)
		}
		s.tls = &tls.Config{Certificates: []tls.Certificate{cert}}
		if s.listen, err = s.server.Listen(t.Context(), "tcp", ":5222"); err != nil {
			t.Fatal(err)
		}
		defer s.listen.Close()
		s.cfg = Config{
			Account: jid.MustParse("juliet@im.example.com/balcony"), Credentials: Password("r0m30myr0m30"), AllowPlain: true,
			TLS: &TLSConfig{RootCAs: ca.Pool()}, Network: Network{Dial: s.host.Dial, Resolver: dns{}}, Logger: slog.New(slog.NewTextHandler(t.Output(), nil)),
		}
		test(s)
	})
}

// script is a server on its way through a script.
type script struct {
	s    *stage
	peer *xmpptest.Peer
}

// accept waits for the client's next connection.
func (s *stage) accept() *script {
	s.Helper()
	conn, err := s.listen.Accept()
	if err != nil {
		s.Fatal(err)
	}
	p := xmpptest.NewPeer(conn)
	p.TLS = s.tls
	return &script{s, p}
}

// play plays some lines.
func (c *script) play(text string) {
	c.s.Helper()
	if err := c.peer.Play(c.s.Context(), text); err != nil {
		c.s.Fatal(err)
	}
}

// The parts of a script: to TLS and a login, features with stream management and
// roster versions, a session with presence.
const (
	secure = `
C: <stream:stream to='im.example.com' version='1.0'>
S: <stream:stream from='im.example.com' id='1' version='1.0'>
S: <stream:features><starttls xmlns='urn:ietf:params:xml:ns:xmpp-tls'><required/></starttls></stream:features>
C: <starttls xmlns='urn:ietf:params:xml:ns:xmpp-tls'/>
S: <proceed xmlns='urn:ietf:params:xml:ns:xmpp-tls'/>
TLS
C: <stream:stream from='juliet@im.example.com' to='im.example.com' version='1.0'>
S: <stream:stream from='im.example.com' id='2' version='1.0'>
`
	login = secure + `
S: <stream:features><mechanisms xmlns='urn:ietf:params:xml:ns:xmpp-sasl'><mechanism>PLAIN</mechanism></mechanisms></stream:features>
C: <auth xmlns='urn:ietf:params:xml:ns:xmpp-sasl' mechanism='PLAIN'>AGp1bGlldAByMG0zMG15cjBtMzA=</auth>
S: <success xmlns='urn:ietf:params:xml:ns:xmpp-sasl'/>
C: <stream:stream from='juliet@im.example.com' to='im.example.com' version='1.0'>
S: <stream:stream from='im.example.com' id='3' version='1.0'>
S: <stream:features><bind xmlns='urn:ietf:params:xml:ns:xmpp-bind'/><sm xmlns='urn:xmpp:sm:3'/><ver xmlns='urn:xmpp:features:rosterver'/></stream:features>
`
	bind = `
C: <iq type='set' id='{bind}'><bind xmlns='urn:ietf:params:xml:ns:xmpp-bind'><resource>balcony</resource></bind></iq>
S: <iq type='result' id='{bind}'><bind xmlns='urn:ietf:params:xml:ns:xmpp-bind'><jid>juliet@im.example.com/balcony</jid></bind></iq>
C: <enable xmlns='urn:xmpp:sm:3' resume='true'/>
S: <enabled xmlns='urn:xmpp:sm:3' id='sm-1' resume='true' max='300'/>
`
	roster = `
C: <iq type='get' id='{roster}'><query xmlns='jabber:iq:roster' ver=''/></iq>
C: <r xmlns='urn:xmpp:sm:3'/>
S: <iq type='result' id='{roster}'><query xmlns='jabber:iq:roster' ver='v1'><item jid='romeo@example.net' name='Romeo' subscription='both'><group>Friends</group></item></query></iq>
S: <a xmlns='urn:xmpp:sm:3' h='1'/>
C: <presence><c any='' xmlns='http://jabber.org/protocol/caps'/></presence>
C: <r xmlns='urn:xmpp:sm:3'/>
S: <a xmlns='urn:xmpp:sm:3' h='2'/>
`
)

// online returns a client that is signed in, and its server.
func (s *stage) online(change func(*Client)) (*Client, *script) {
	s.Helper()
	c, err := New(&s.cfg)
	if err != nil {
		s.Fatal(err)
	}
	if change != nil {
		change(c)
	}
	connected := make(chan error, 1)
	go func() { connected <- c.Connect(s.Context()) }()
	server := s.accept()
	server.play(login + bind + roster)
	if err := <-connected; err != nil {
		s.Fatal(err)
	}
	return c, server
}

// end closes the client, and the server plays along.
func (s *stage) end(c *Client, server *script) {
	s.Helper()
	ended := make(chan error, 1)
	go func() {
		for {
			if _, err := server.peer.Next(); err != nil {
				break
			}
		}
		ended <- server.peer.Play(context.Background(), "S: </stream:stream>\nEND")
	}()
	if err := c.Close(s.Context()); err != nil {
		s.Error(err)
	}
	if err := c.Wait(s.Context()); err != ErrClosed {
		s.Errorf("the client ended with %v", err)
	}
	<-ended
	server.peer.Close()
}

func body(text string) *Message {
	m := &Message{Payload: []*xmltree.Element{xmltree.NewText(NSClient, "body", text)}}
	m.To, m.ID = jid.MustParse("romeo@example.net"), "m-"+text
	return m
}

var errTest = errors.New("for the test")
