package xmpptest_test

import (
	"crypto/tls"
	"log/slog"
	"net"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"mellium.im/xmpp/jid"

	"github.com/hoorn-phone/hoorn/internal/memnet"
	"github.com/hoorn-phone/hoorn/internal/xmppstream"
	"github.com/hoorn-phone/hoorn/xmpp"
	"github.com/hoorn-phone/hoorn/xmpp/xmltree"
	"github.com/hoorn-phone/hoorn/xmpp/xmpptest"
)

// world is a server and its clients in a bubble of virtual time.
type world struct {
	*testing.T
	*xmpptest.Server
	net    *memnet.Network
	host   *memnet.Host // of the clients
	server *memnet.Host
	raws   []*raw
}

// inWorld runs a test with a server that knows alice, bob and carol, whose passwords are "secret".
func inWorld(t *testing.T, change func(*xmpptest.Config), test func(*world)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		n := memnet.New()
		w := &world{T: t, net: n, host: n.Host("10.0.0.1"), server: n.Host("10.0.0.2")}
		cfg := &xmpptest.Config{
			Addr: "10.0.0.2", Listen: w.server.Listen, Users: map[string]string{"alice": "secret", "bob": "secret", "carol": "secret"},
			Logger: slog.New(slog.NewTextHandler(t.Output(), nil)),
		}
		if change != nil {
			change(cfg)
		}
		s, err := xmpptest.Start(cfg)
		if err != nil {
			t.Fatal(err)
		}
		defer s.Close()
		w.Server = s
		defer func() {
			for _, r := range w.raws {
				r.conn.Close()
			}
		}()
		test(w)
	})
}

// pass lets time pass.
func (w *world) pass(d time.Duration) { time.Sleep(d) }

// config is that of a real client.
func (w *world) config(user string) *xmpp.Config {
	return &xmpp.Config{
		Account: jid.MustParse(user + "@" + w.Domain()), Credentials: xmpp.Password("secret"), TLS: &xmpp.TLSConfig{RootCAs: w.RootCAs()},
		Network: xmpp.Network{Dial: w.host.Dial, Resolver: w.Resolver()}, Logger: slog.New(slog.NewTextHandler(w.Output(), nil)),
	}
}

// client is a real client that is signed in.
func (w *world) client(user string) *xmpp.Client {
	w.Helper()
	c, err := xmpp.New(w.config(user))
	if err != nil {
		w.Fatal(err)
	}
	if err := c.Connect(w.Context()); err != nil {
		w.Fatal(err)
	}
	return c
}

// raw is a client that says what a test has it say, and shows what it hears.
type raw struct {
	*world
	name string
	conn net.Conn
	scan *xmppstream.Scanner
	p    *xmltree.Parser
	vars map[string]string
}

// dial opens a stream with direct TLS.
func (w *world) dial(name string) *raw {
	w.Helper()
	conn, err := w.host.Dial(w.Context(), "tcp", w.DirectAddr().String())
	if err != nil {
		w.Fatal(err)
	}
	c := tls.Client(conn, &tls.Config{ServerName: w.Domain(), RootCAs: w.RootCAs()})
	r := &raw{world: w, name: name, conn: c, scan: xmppstream.NewScanner(c), vars: map[string]string{}}
	w.raws = append(w.raws, r)
	r.open()
	return r
}

// open begins a stream and returns its features.
func (r *raw) open() *xmltree.Element {
	r.Helper()
	r.write("<?xml version='1.0'?><stream:stream to='" + r.Domain() + "' version='1.0' xmlns='jabber:client' xmlns:stream='http://etherx.jabber.org/streams'>")
	r.scan.Restart(r.conn)
	piece, err := r.scan.Next()
	if err != nil {
		r.Fatal(err)
	}
	if _, r.p, err = xmppstream.ParseHeader(piece.Data); err != nil {
		r.Fatal(err)
	}
	return r.next()
}

func (r *raw) write(s string) {
	r.Helper()
	if _, err := r.conn.Write([]byte(s)); err != nil {
		r.Fatal(err)
	}
}

// next is the next element that it hears.
func (r *raw) next() *xmltree.Element {
	r.Helper()
	r.conn.SetReadDeadline(time.Now().Add(time.Minute))
	piece, err := r.scan.Next()
	if err != nil {
		r.Fatalf("%s: %v", r.name, err)
	}
	if piece.Kind == xmppstream.Footer {
		return xmltree.New("", "footer")
	}
	e, err := r.p.Parse(piece.Data)
	if err != nil {
		r.Fatalf("%s: %v in %s", r.name, err, piece.Data)
	}
	return e
}

// plainAuth is alice's, bob's and carol's.
var plainAuth = map[string]string{"alice": "AGFsaWNlAHNlY3JldA==", "bob": "AGJvYgBzZWNyZXQ=", "carol": "AGNhcm9sAHNlY3JldA=="}

// login signs in, without a resource.
func (w *world) login(user string) *raw {
	w.Helper()
	r := w.dial(user)
	r.write("<auth xmlns='urn:ietf:params:xml:ns:xmpp-sasl' mechanism='PLAIN'>" + plainAuth[user] + "</auth>")
	if e := r.next(); e.Name.Local != "success" {
		w.Fatal(e)
	}
	r.open()
	return r
}

// bound is a session of a user without presence, online one with.
func (w *world) bound(user, resource string) *raw {
	w.Helper()
	r := w.login(user)
	r.play(`
C: <iq type='set' id='b'><bind xmlns='urn:ietf:params:xml:ns:xmpp-bind'><resource>` + resource + `</resource></bind></iq>
S: <iq type='result' id='b'><bind xmlns='urn:ietf:params:xml:ns:xmpp-bind'><jid>` + user + "@" + w.Domain() + "/" + resource + `</jid></bind></iq>`)
	return r
}

func (w *world) online(user, resource string) *raw {
	w.Helper()
	r := w.bound(user, resource)
	j := user + "@" + w.Domain()
	r.play("C: <presence/>\nS: <presence from='" + j + "/" + resource + "' to='" + j + "'/>")
	return r
}

// play plays a script as Peer does, from the other side.
func (r *raw) play(script string) {
	r.Helper()
	if err := xmpptest.PlayClient(r.Context(), script, r.vars, func(xml string) error {
		_, err := r.conn.Write([]byte(xml))
		return err
	}, func() (*xmltree.Element, error) { return r.next(), nil }); err != nil {
		r.Fatalf("%s: %v", r.name, err)
	}
}

// quiet checks that nothing else is heard until everybody waits.
func (r *raw) quiet() {
	r.Helper()
	synctest.Wait()
	r.conn.SetReadDeadline(time.Now().Add(time.Second))
	piece, err := r.scan.Next()
	if err == nil {
		r.Errorf("%s got %s", r.name, piece.Data)
	} else if !strings.Contains(err.Error(), "timeout") {
		r.Errorf("%s: %v", r.name, err)
	}
}
