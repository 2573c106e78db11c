package xmpptest_test

import (
	"crypto/tls"
	"io"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hoorn-phone/hoorn/internal/xmppstream"
	"github.com/hoorn-phone/hoorn/xmpp"
	"github.com/hoorn-phone/hoorn/xmpp/xmpptest"
)

// RFC 6120 §4.9.3: what ends a stream.
func TestStreamErrors(t *testing.T) {
	inWorld(t, nil, func(w *world) {
		for condition, send := range map[string]string{
			"not-well-formed":         "<message><body></message></body>",
			"restricted-xml":          "<message><!-- x --></message>",
			"invalid-from":            "<message from='bob@example.test'/>",
			"unsupported-stanza-type": "<foo xmlns='jabber:client'/>",
			"undefined-condition":     "<enable xmlns='urn:xmpp:sm:3'/><a xmlns='urn:xmpp:sm:3' h='7'/>",
		} {
			r := w.bound("alice", "x")
			r.write(send)
			e := r.next()
			for e.Name.Local != "error" {
				e = r.next()
			}
			if e.Child(xmppstream.NSError, condition) == nil {
				w.Errorf("%s: %s", condition, e)
			}
			if e := r.next(); e.Name.Local != "footer" {
				w.Errorf("%s: then %s", condition, e)
			}
		}
		synctest.Wait()
		if n := len(w.Sessions("alice")); n != 0 {
			w.Errorf("%d sessions are left", n)
		}
	})
}

// RFC 6120 §5.4.2, §6.4: nothing but STARTTLS in clear text, nothing but SASL then.
func TestNegotiation(t *testing.T) {
	inWorld(t, nil, func(w *world) {
		conn, err := w.host.Dial(w.Context(), "tcp", w.Addr().String())
		if err != nil {
			w.Fatal(err)
		}
		r := &raw{world: w, name: "alice", conn: conn, scan: xmppstream.NewScanner(conn), vars: map[string]string{}}
		f := r.open()
		if n := f.First(); !n.Is("urn:ietf:params:xml:ns:xmpp-tls", "starttls") || n.Child("urn:ietf:params:xml:ns:xmpp-tls", "required") == nil {
			w.Errorf("features %s", f)
		}
		r.play("C: <starttls xmlns='urn:ietf:params:xml:ns:xmpp-tls'/>\nS: <proceed xmlns='urn:ietf:params:xml:ns:xmpp-tls'/>")
		r.conn = tls.Client(conn, &tls.Config{ServerName: w.Domain(), RootCAs: w.RootCAs()})
		f = r.open()
		n := 0
		for m := range f.Child("urn:ietf:params:xml:ns:xmpp-sasl", "mechanisms").Elements() {
			_ = m
			n++
		}
		if cb := f.Child("urn:xmpp:sasl-cb:0", "sasl-channel-binding"); n != 7 || cb.First().Get("type") != "tls-exporter" {
			w.Errorf("features %s", f)
		}
		// Five failures are enough (RFC 6120 §6.4.5).
		for range 5 {
			r.play("C: <auth xmlns='urn:ietf:params:xml:ns:xmpp-sasl' mechanism='PLAIN'>AGFsaWNlAHdyb25n</auth>\nS: <failure xmlns='urn:ietf:params:xml:ns:xmpp-sasl'><not-authorized/></failure>")
		}
		r.play("S: <stream:error><policy-violation xmlns='urn:ietf:params:xml:ns:xmpp-streams'/></stream:error>")
		conn.Close()

		r = w.dial("nobody")
		r.play("C: <message/>\nS: <stream:error><not-authorized xmlns='urn:ietf:params:xml:ns:xmpp-streams'/></stream:error>")
	})
}

// Each mechanism, by the real client.
func TestMechanisms(t *testing.T) {
	for _, m := range []string{"SCRAM-SHA-1", "SCRAM-SHA-256", "SCRAM-SHA-512", "SCRAM-SHA-1-PLUS", "SCRAM-SHA-256-PLUS", "SCRAM-SHA-512-PLUS", "PLAIN"} {
		t.Run(m, func(t *testing.T) {
			inWorld(t, func(c *xmpptest.Config) { c.Mechanisms = []string{m} }, func(w *world) {
				cfg := w.config("alice")
				cfg.AllowPlain = m == "PLAIN"
				c, err := xmpp.New(cfg)
				if err != nil {
					w.Fatal(err)
				}
				defer c.Close(w.Context())
				if err := c.Connect(w.Context()); err != nil {
					w.Fatal(err)
				}
				synctest.Wait()
				if s := w.Sessions("alice"); len(s) != 1 || !s[0].Managed || !s[0].Available {
					w.Errorf("sessions %+v", s)
				}
			})
		})
	}
}

// RFC 6120 §7.7.2.2: who comes later has the resource.
func TestResourceConflict(t *testing.T) {
	inWorld(t, nil, func(w *world) {
		first := w.online("alice", "x")
		w.online("alice", "x")
		for e := first.next(); e.Name.Local != "error"; e = first.next() {
		}
		if n := len(w.Sessions("alice")); n != 1 {
			w.Errorf("%d sessions", n)
		}
	})
}

const enable = `
C: <enable xmlns='urn:xmpp:sm:3' resume='true'/>
S: <enabled xmlns='urn:xmpp:sm:3' id='{sm}' resume='true' max='300'/>
`

const ping = `
C: <iq type='get' to='example.test' id='p'><ping xmlns='urn:xmpp:ping'/></iq>
S: <iq type='result' from='example.test' to='{*}' id='p'/>
`

// XEP-0198 §5: what was not confirmed comes again, and only that.
func TestResume(t *testing.T) {
	for name, cut := range map[string]func(*world) int{
		"cut":    func(w *world) int { return w.Cut("alice") },
		"reset":  func(w *world) int { return w.Reset("alice/x") },
		"vanish": func(w *world) int { return w.Vanish("") - 1 },
	} {
		t.Run(name, func(t *testing.T) {
			inWorld(t, nil, func(w *world) {
				a, b := w.bound("alice", "x"), w.online("bob", "y")
				a.play(enable)
				a.play(`
C: <presence/>
S: <presence from='alice@example.test/x' to='alice@example.test'/>
S: <r xmlns='urn:xmpp:sm:3'/>
C: <a xmlns='urn:xmpp:sm:3' h='1'/>
C: <r xmlns='urn:xmpp:sm:3'/>
S: <a xmlns='urn:xmpp:sm:3' h='1'/>`)
				b.play("C: <message to='alice@example.test/x' id='1'><any/></message>" + "\n" + "C: <message to='alice@example.test/x' id='2'><any/></message>")
				a.play(`
S: <message from='bob@example.test/y' to='alice@example.test/x' id='1'><any/></message>
S: <r xmlns='urn:xmpp:sm:3'/>
S: <message from='bob@example.test/y' to='alice@example.test/x' id='2'><any/></message>
C: <r xmlns='urn:xmpp:sm:3'/>
S: <a xmlns='urn:xmpp:sm:3' h='1'/>`)
				if n := cut(w); n != 1 {
					w.Fatalf("%d connections were cut", n)
				}
				if s := w.Sessions("alice"); len(s) != 1 || s[0].Connected || !s[0].Available || s[0].Unacked != 2 {
					w.Errorf("sessions %+v", s)
				}
				again := w.login("alice")
				again.vars = a.vars
				again.play(`
C: <resume xmlns='urn:xmpp:sm:3' previd='{sm}' h='2'/>
S: <resumed xmlns='urn:xmpp:sm:3' previd='{sm}' h='1'/>
S: <message from='bob@example.test/y' to='alice@example.test/x' id='2'><any/></message>
S: <r xmlns='urn:xmpp:sm:3'/>
C: <a xmlns='urn:xmpp:sm:3' h='3'/>` + ping)
			})
		})
	}
}

// XEP-0198 §5: a resumption that is refused.
func TestRefuseResume(t *testing.T) {
	inWorld(t, func(c *xmpptest.Config) { c.NoOffline = true }, func(w *world) {
		for i, want := range []string{
			"S: <failed xmlns='urn:xmpp:sm:3' h='1'><item-not-found xmlns='urn:ietf:params:xml:ns:xmpp-stanzas'/></failed>",
			"S: <failed xmlns='urn:xmpp:sm:3'><item-not-found xmlns='urn:ietf:params:xml:ns:xmpp-stanzas'/></failed>",
		} {
			w.RefuseResume("alice", 1, i == 0)
			a := w.bound("alice", "x")
			a.play(enable)
			a.play("C: <presence/>\nS: <presence any=''/>")
			w.Cut("alice")
			again := w.login("alice")
			again.vars = a.vars
			again.play("C: <resume xmlns='urn:xmpp:sm:3' previd='{sm}' h='0'/>\n" + want)
			if n := len(w.Sessions("alice")); n != 0 {
				w.Errorf("%d sessions", n)
			}
			again.play("C: <resume xmlns='urn:xmpp:sm:3' previd='{sm}' h='0'/>\nS: <failed xmlns='urn:xmpp:sm:3'><item-not-found xmlns='urn:ietf:params:xml:ns:xmpp-stanzas'/></failed>")
		}
	})
}

// A session waits for as long as it was said, not longer; then its messages are kept or come back.
func TestHibernation(t *testing.T) {
	inWorld(t, nil, func(w *world) {
		a, b := w.bound("alice", "x"), w.online("bob", "y")
		a.play(enable)
		a.play("C: <presence to='bob@example.test/y'/>")
		b.play("S: <presence from='alice@example.test/x' to='bob@example.test/y'/>")
		w.Cut("alice")
		b.play("C: <iq type='get' id='v' to='alice@example.test/x'><query xmlns='jabber:iq:version'/></iq>")
		w.pass(5*time.Minute - time.Second)
		synctest.Wait()
		if s := w.Sessions("alice"); len(s) != 1 {
			w.Fatal("it has gone too early")
		}
		start := time.Now()
		b.play(`
S: <presence from='alice@example.test/x' to='bob@example.test/y' type='unavailable'/>
S: <iq type='error' id='v' from='alice@example.test/x' to='bob@example.test/y'><error type='cancel'><service-unavailable xmlns='urn:ietf:params:xml:ns:xmpp-stanzas'/></error></iq>`)
		if d := time.Since(start); d != time.Second {
			w.Errorf("after %v more", d)
		}
	})
}

func TestFaults(t *testing.T) {
	inWorld(t, nil, func(w *world) {
		a := w.bound("alice", "x")
		a.play(enable)
		w.DropAcks("alice", 1)
		a.play("C: <r xmlns='urn:xmpp:sm:3'/>\nC: <r xmlns='urn:xmpp:sm:3'/>\nS: <a xmlns='urn:xmpp:sm:3' h='0'/>")
		a.quiet()

		w.Delay("alice", 3*time.Second)
		start := time.Now()
		a.play(ping + "S: <r xmlns='urn:xmpp:sm:3'/>")
		if d := time.Since(start); d != 3*time.Second {
			w.Errorf("delayed by %v", d)
		}
		w.Delay("alice", 0)
		w.Silence("alice", true)
		a.write("<iq type='get' to='example.test' id='q'><ping xmlns='urn:xmpp:ping'/></iq>")
		a.quiet()
		w.Silence("alice", false)
		a.play("S: <iq type='result' from='example.test' to='alice@example.test/x' id='q'/>")

		w.Redirect("other.example:5222", 1)
		r := w.dial0()
		if e := r.open(); e.Child(xmppstream.NSError, "see-other-host").Text() != "other.example:5222" {
			w.Errorf("redirected with %s", e)
		}
		if n := w.EndStreams("alice", "system-shutdown"); n != 1 {
			w.Errorf("%d streams ended", n)
		}
		e := a.next()
		for e.Name.Local != "error" {
			e = a.next()
		}
		if e.Child(xmppstream.NSError, "system-shutdown") == nil {
			w.Errorf("ended with %s", e)
		}
	})
}

// A client that reads nothing does not hold up anybody, and its session ends.
func TestUnread(t *testing.T) {
	inWorld(t, func(c *xmpptest.Config) { c.Limits.Queue, c.NoOffline = 10, true }, func(w *world) {
		a, b := w.bound("alice", "x"), w.online("bob", "y")
		a.play(enable)
		w.Silence("alice", true)
		for range 11 {
			b.write("<message to='alice@example.test/x' type='headline'/>")
		}
		b.play(ping)
		synctest.Wait()
		if n := len(w.Sessions("alice")); n != 0 {
			w.Errorf("%d sessions", n)
		}
	})
}

// Close leaves nothing behind while clients are at every stage.
func TestClose(t *testing.T) {
	inWorld(t, nil, func(w *world) {
		w.dial("alice")
		w.login("alice")
		a := w.bound("alice", "x")
		a.play(enable)
		w.Vanish("alice")
		w.bound("bob", "y").play(enable)
		w.Cut("bob")
		w.Close()
		if err := w.AddUser("dave", "secret"); err != xmpptest.ErrClosed {
			w.Error(err)
		}
	})
}

func TestStartRefuses(t *testing.T) {
	for name, c := range map[string]xmpptest.Config{
		"domain":      {Domain: "a@b"},
		"rooms":       {Rooms: "example.test"},
		"same":        {Rooms: "x.test", PubSub: "x.test"},
		"address":     {Addr: "localhost"},
		"user":        {Users: map[string]string{"a/b": "x"}},
		"password":    {Users: map[string]string{"a": ""}},
		"port in use": {Addr: "203.0.113.1"},
	} {
		if s, err := xmpptest.Start(&c); err == nil {
			s.Close()
			t.Errorf("%s: no error", name)
		}
	}
}

// dial0 has TLS but no stream.
func (w *world) dial0() *raw {
	w.Helper()
	conn, err := w.host.Dial(w.Context(), "tcp", w.DirectAddr().String())
	if err != nil {
		w.Fatal(err)
	}
	c := tls.Client(conn, &tls.Config{ServerName: w.Domain(), RootCAs: w.RootCAs()})
	r := &raw{world: w, conn: c, scan: xmppstream.NewScanner(c), vars: map[string]string{}}
	w.raws = append(w.raws, r)
	return r
}

// What comes while the connection is lost says when (XEP-0203).
func TestDelayed(t *testing.T) {
	inWorld(t, nil, func(w *world) {
		a, b := w.bound("alice", "x"), w.online("bob", "y")
		a.play(enable)
		w.Cut("alice")
		b.play("C: <message to='alice@example.test/x' type='headline' id='1'/>\n" + ping)
		w.pass(time.Minute)
		again := w.login("alice")
		again.vars = a.vars
		again.play(`
C: <resume xmlns='urn:xmpp:sm:3' previd='{sm}' h='0'/>
S: <resumed xmlns='urn:xmpp:sm:3' previd='{sm}' h='0'/>
S: <message from='bob@example.test/y' to='alice@example.test/x' type='headline' id='1'><delay xmlns='urn:xmpp:delay' from='example.test' stamp='2000-01-01T00:00:00.000Z'/></message>`)
	})
}

// After a crash nothing can be resumed, nobody was told, and what was stored is there.
func TestCrash(t *testing.T) {
	inWorld(t, nil, func(w *world) {
		if err := w.AddRoom("lounge", "alice", map[string]string{"roomname": "The Lounge"}); err != nil {
			w.Fatal(err)
		}
		a, b := w.bound("alice", "x"), w.online("bob", "y")
		a.play(enable)
		a.play("C: <presence to='lounge@conference.example.test/a'><x xmlns='http://jabber.org/protocol/muc'/></presence>\nS: <presence any=''><any/></presence>")
		if r := w.Room("lounge"); len(r.Occupants) != 1 || r.Occupants[0].Sessions[0] != "alice@example.test/x" || r.Locked || r.Name != "The Lounge" {
			w.Errorf("the room is %+v", r)
		}
		b.play("C: <message to='alice@example.test/x' type='chat'><body>x</body></message>\n" + ping)
		w.Crash()
		synctest.Wait()
		if len(w.Sessions("alice"))+len(w.Sessions("bob")) != 0 || len(w.Archive("alice")) != 1 || len(w.Room("lounge").Occupants) != 0 {
			w.Errorf("alice %+v, bob %+v", w.Sessions("alice"), w.Sessions("bob"))
		}
		again := w.login("alice")
		again.vars = a.vars
		again.play("C: <resume xmlns='urn:xmpp:sm:3' previd='{sm}' h='0'/>\nS: <failed xmlns='urn:xmpp:sm:3'><item-not-found xmlns='urn:ietf:params:xml:ns:xmpp-stanzas'/></failed>")
	})
}

func TestAddRoomRefuses(t *testing.T) {
	inWorld(t, nil, func(w *world) {
		if err := w.AddRoom("lounge", "alice", nil); err != nil {
			w.Error(err)
		}
		for name, err := range map[string]error{
			"no name": w.AddRoom("", "alice", nil), "a resource": w.AddRoom("a/b", "alice", nil), "no owner": w.AddRoom("x", "nobody", nil),
			"taken": w.AddRoom("lounge", "alice", nil), "field": w.AddRoom("x", "alice", map[string]string{"whois": "nobody"}),
		} {
			if err == nil {
				w.Errorf("%s: no error", name)
			}
		}
		if w.Room("x") != nil {
			w.Error("a room that was refused is there")
		}
	})
}

// Who comes when there are too many is not served; who was there is.
func TestTooManyConnections(t *testing.T) {
	inWorld(t, func(c *xmpptest.Config) { c.Limits.Connections = 1 }, func(w *world) {
		a := w.online("alice", "x")
		conn, err := w.host.Dial(w.Context(), "tcp", w.Addr().String())
		if err != nil {
			w.Fatal(err)
		}
		defer conn.Close()
		if n, err := conn.Read(make([]byte, 1)); err != io.EOF {
			w.Errorf("read %d, %v", n, err)
		}
		a.play(ping)
	})
}
