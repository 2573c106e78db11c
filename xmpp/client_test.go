package xmpp

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"mellium.im/xmpp/jid"
	"mellium.im/xmpp/ping"
	"mellium.im/xmpp/stanza"

	"github.com/hoorn-phone/hoorn/internal/xmpplink"
	"github.com/hoorn-phone/hoorn/xmpp/xmltree"
)

func TestConnect(t *testing.T) {
	onStage(t, func(s *stage) {
		c, server := s.online(nil)
		if st := c.Status(); st.State != Online || st.Resumed || st.JID.String() != "juliet@im.example.com/balcony" || c.JID().String() != st.JID.String() {
			s.Errorf("status %+v", st)
		}
		if all := c.Roster().All(); len(all) != 1 || all[0].Name != "Romeo" || all[0].Subscription != SubscriptionBoth || all[0].Groups[0] != "Friends" {
			s.Errorf("roster %+v", all)
		}
		if err := c.Use(&Extension{Name: "late"}); err != ErrStarted {
			s.Errorf("an extension that comes late: %v", err)
		}
		if err := c.Connect(s.Context()); err != ErrStarted {
			s.Errorf("started twice: %v", err)
		}
		s.end(c, server)
		if _, err := c.Send(s.Context(), body("late")); err != ErrClosed {
			s.Errorf("sending when closed: %v", err)
		}
	})
}

func TestNewRefuses(t *testing.T) {
	good := Config{Account: jid.MustParse("a@b"), Credentials: Password("x")}
	for name, change := range map[string]func(*Config){
		"no account":       func(c *Config) { c.Account = jid.JID{} },
		"a domain":         func(c *Config) { c.Account = jid.MustParse("b") },
		"no credentials":   func(c *Config) { c.Credentials = nil },
		"strange server":   func(c *Config) { c.Server = "ftp://b" },
		"strange proxy":    func(c *Config) { c.Network.Proxy = "ftp://b" },
		"tokens of nobody": func(c *Config) { c.Tokens = new(xmpplink.MemoryTokens) },
		"proxy no URL":     func(c *Config) { c.Network.Proxy = "http://user:secret@[::1" },
	} {
		cfg := good
		change(&cfg)
		if c, err := New(&cfg); err == nil || c != nil || strings.Contains(err.Error(), "secret") {
			t.Errorf("%s: %v, %v", name, c, err)
		}
	}
	if _, err := New(nil); err == nil {
		t.Error("nothing was taken")
	}
}

// A refused login ends the client (RFC 6120 §6.5.10); so does a conflict (§4.9.3.3).
func TestGiveUp(t *testing.T) {
	t.Run("not-authorized", func(t *testing.T) {
		onStage(t, func(s *stage) {
			c, err := New(&s.cfg)
			if err != nil {
				s.Fatal(err)
			}
			connected := make(chan error, 1)
			go func() { connected <- c.Connect(s.Context()) }()
			s.accept().play(secure + `
S: <stream:features><mechanisms xmlns='urn:ietf:params:xml:ns:xmpp-sasl'><mechanism>PLAIN</mechanism></mechanisms></stream:features>
C: <auth xmlns='urn:ietf:params:xml:ns:xmpp-sasl' mechanism='PLAIN'>{*}</auth>
S: <failure xmlns='urn:ietf:params:xml:ns:xmpp-sasl'><not-authorized/></failure>
END
CUT`)
			var auth *AuthError
			if err := <-connected; !errors.As(err, &auth) || auth.Condition != "not-authorized" {
				s.Errorf("got %v", err)
			}
			if err := c.Wait(s.Context()); !errors.As(err, &auth) || c.Status().State != Closed {
				s.Errorf("then %v", err)
			}
		})
	})
	t.Run("conflict", func(t *testing.T) {
		onStage(t, func(s *stage) {
			c, server := s.online(nil)
			server.play(`S: <stream:error><conflict xmlns='urn:ietf:params:xml:ns:xmpp-streams'/></stream:error></stream:stream>
END
CUT`)
			if err := c.Wait(s.Context()); !errors.Is(err, &StreamError{Condition: "conflict"}) {
				s.Errorf("got %v", err)
			}
		})
	})
}

// Until the first login, attempts are repeated as long as the context lasts; the error tells what the last one met.
func TestConnectTimeout(t *testing.T) {
	onStage(t, func(s *stage) {
		s.listen.Close()
		c, err := New(&s.cfg)
		if err != nil {
			s.Fatal(err)
		}
		ctx, cancel := context.WithTimeout(s.Context(), time.Minute)
		defer cancel()
		start := time.Now()
		err = c.Connect(ctx)
		var e *Error
		if !errors.As(err, &e) || e.Stage != "connect" || !errors.Is(err, context.DeadlineExceeded) || time.Since(start) != time.Minute {
			s.Errorf("after %v: %v", time.Since(start), err)
		}
	})
}

// RFC 6120 §8.1.2.1, §10.3.3: only who was asked may answer.
func TestAnswers(t *testing.T) {
	onStage(t, func(s *stage) {
		c, server := s.online(nil)
		server.peer.AutoAck = true
		ask := func(to string) <-chan error {
			done := make(chan error, 1)
			go func() {
				var j jid.JID
				if to != "" {
					j = jid.MustParse(to)
				}
				payload, err := c.Get(s.Context(), j, xmltree.New("urn:xmpp:ping", "ping"))
				if err == nil && !payload.Is("x", "right") {
					err = errTest
				}
				done <- err
			}()
			return done
		}
		for i, q := range []struct {
			to     string
			wrong  []string // from whom it is not the answer
			answer string   // from
		}{
			{"romeo@example.net/orchard", []string{"romeo@example.net", "example.net", "romeo@example.net/other", "", "im.example.com"}, "romeo@example.net/orchard"},
			{"", []string{"romeo@example.net", "im.example.com/x"}, ""},
			{"", nil, "juliet@im.example.com"},
			{"", nil, "juliet@im.example.com/balcony"},
			{"", nil, "im.example.com"},
			{"juliet@im.example.com", []string{"juliet@example.net"}, ""},
			{"im.example.com", []string{"example.com", "romeo@im.example.com"}, ""},
		} {
			done := ask(q.to)
			to := "to='" + q.to + "'"
			if q.to == "" {
				to = ""
			}
			id := fmt.Sprintf("{id%d}", i)
			server.play("C: <iq type='get' " + to + " id='" + id + "'><ping xmlns='urn:xmpp:ping'/></iq>")
			for _, from := range q.wrong {
				attr := "from='" + from + "'"
				if from == "" {
					attr = ""
				}
				server.play("S: <iq type='result' id='" + id + "' " + attr + "><wrong xmlns='x'/></iq>")
			}
			attr := "from='" + q.answer + "'"
			if q.answer == "" {
				attr = ""
			}
			server.play("S: <iq type='result' id='" + id + "' " + attr + "><right xmlns='x'/></iq>")
			if err := <-done; err != nil {
				s.Errorf("%q answered by %q: %v", q.to, q.answer, err)
			}
		}
		done := ask("romeo@example.net")
		server.play(`C: <iq type='get' to='romeo@example.net' id='{e}'><any/></iq>
S: <iq type='error' id='{e}' from='romeo@example.net'><ping xmlns='urn:xmpp:ping'/><error type='cancel'><service-unavailable xmlns='urn:ietf:params:xml:ns:xmpp-stanzas'/><text xmlns='urn:ietf:params:xml:ns:xmpp-stanzas'>no</text></error></iq>`)
		var refused stanza.Error
		if err := <-done; !errors.As(err, &refused) || refused.Condition != stanza.ServiceUnavailable || refused.Text[""] != "no" {
			s.Errorf("an error is %v", err)
		}
		s.end(c, server)
	})
}

// Each request gets its answer, whatever becomes of it (RFC 6120 §8.2.3, §8.4).
func TestRequests(t *testing.T) {
	onStage(t, func(s *stage) {
		release := make(chan struct{})
		c, server := s.online(func(c *Client) {
			answers := map[string]IQHandler{
				"good":    func(context.Context, *IQ) (*xmltree.Element, error) { return xmltree.New("x", "yes"), nil },
				"nothing": func(context.Context, *IQ) (*xmltree.Element, error) { return nil, nil },
				"bad":     func(context.Context, *IQ) (*xmltree.Element, error) { return nil, errTest },
				"refused": func(context.Context, *IQ) (*xmltree.Element, error) {
					return nil, stanza.Error{Type: stanza.Auth, Condition: stanza.Forbidden}
				},
				"slow": func(context.Context, *IQ) (*xmltree.Element, error) { <-release; return nil, nil },
			}
			x := &Extension{Name: "test", IQ: map[IQName]IQHandler{}}
			for name, h := range answers {
				x.IQ[IQName{stanza.GetIQ, "x", name}] = h
			}
			if err := c.Use(x); err != nil {
				s.Error(err)
			}
			if err := c.Use(x); err == nil {
				s.Error("two extensions handle the same")
			}
		})
		server.peer.AutoAck = true
		const failed = "xmlns='urn:ietf:params:xml:ns:xmpp-stanzas'"
		server.play(`
S: <iq type='get' id='1' from='a@example.net/b'><good xmlns='x'/></iq>
C: <iq type='result' id='1' to='a@example.net/b'><yes xmlns='x'/></iq>
S: <iq type='get' id='2' from='a@example.net/b'><nothing xmlns='x'/></iq>
C: <iq type='result' id='2' to='a@example.net/b'/>
S: <iq type='get' id='3' from='a@example.net/b'><bad xmlns='x'/></iq>
C: <iq type='error' id='3' to='a@example.net/b'><error type='cancel'><internal-server-error ` + failed + `/></error></iq>
S: <iq type='get' id='4' from='a@example.net/b'><refused xmlns='x'/></iq>
C: <iq type='error' id='4' to='a@example.net/b'><error type='auth'><forbidden ` + failed + `/></error></iq>
S: <iq type='set' id='5' from='a@example.net/b'><good xmlns='x'/></iq>
C: <iq type='error' id='5' to='a@example.net/b'><error type='cancel'><service-unavailable ` + failed + `/></error></iq>
S: <iq type='get' id='6' from='a@example.net/b'/>
C: <iq type='error' id='6' to='a@example.net/b'><error type='modify'><bad-request ` + failed + `/></error></iq>
S: <iq type='what' id='7' from='a@example.net/b'/>
C: <iq type='error' id='7' to='a@example.net/b'><error type='modify'><bad-request ` + failed + `/></error></iq>
S: <iq type='get' id='8' from='a@example.net/b'><q xmlns='x'><!-- --></q></iq>
C: <iq type='error' id='8' to='a@example.net/b'><error type='modify'><not-acceptable ` + failed + `/></error></iq>
S: <iq type='get' id='9'><query xmlns='http://jabber.org/protocol/disco#info'/></iq>
C: <iq type='result' id='9'><query xmlns='http://jabber.org/protocol/disco#info'><identity category='client' type='pc'/>
  <feature var='http://jabber.org/protocol/caps'/><feature var='http://jabber.org/protocol/disco#info'/><feature var='http://jabber.org/protocol/disco#items'/>
  <feature var='urn:xmpp:ping'/><feature var='urn:xmpp:time'/></query></iq>
S: <iq type='result' id='nobody asked' from='a@example.net/b'/>
`)
		// 16 run and 64 wait; the next is told to come back.
		var flood strings.Builder
		flood.WriteString("S: ")
		for range 81 {
			flood.WriteString("<iq type='get' id='slow' from='a@example.net/b'><slow xmlns='x'/></iq>")
		}
		server.play(flood.String() + `
C: <iq type='error' id='slow' to='a@example.net/b'><error type='wait'><resource-constraint ` + failed + `/></error></iq>`)
		close(release)
		for range 80 {
			server.play("C: <iq type='result' id='slow' to='a@example.net/b'/>")
		}
		s.end(c, server)
	})
}

// Nobody reads: what finds no room is answered where it may be (RFC 6120 §8.3.1).
func TestMessagesOverflow(t *testing.T) {
	onStage(t, func(s *stage) {
		s.cfg.MessageQueue = 2
		c, server := s.online(nil)
		server.peer.AutoAck = true
		server.play(`
S: <message id='1' type='chat' from='a@example.net/b'><body>1</body></message><message id='2' from='a@example.net/b'><body>2</body></message>
S: <message id='3' type='chat' from='a@example.net/b'><body>3</body></message>
C: <message id='3' type='error' to='a@example.net/b'><error type='wait'><resource-constraint xmlns='urn:ietf:params:xml:ns:xmpp-stanzas'/></error></message>
S: <message id='4' type='groupchat' from='room@example.net/b'><body>4</body></message><message id='5' type='error' from='a@example.net/b'/>
S: <iq type='get' id='ping'><ping xmlns='urn:xmpp:ping'/></iq>
C: <iq type='result' id='ping'/>`)
		var got []string
		for m := range c.Messages(s.Context()) {
			got = append(got, m.Body()+string(m.Type))
			if len(got) == 2 {
				break
			}
		}
		if strings.Join(got, " ") != "1chat 2normal" {
			s.Errorf("got %q", got)
		}
		s.end(c, server)
		for m := range c.Messages(s.Context()) {
			s.Errorf("a closed client has a message: %v", m)
		}
	})
}

// A resource that PRECIS refuses harms nobody; a bare address that is none drops the stanza.
func TestUnsafeAddresses(t *testing.T) {
	onStage(t, func(s *stage) {
		c, server := s.online(nil)
		server.peer.AutoAck = true
		server.play(`
S: <message from='room@example.net/a&#xAD;b' type='groupchat'><body>unsafe</body></message><message from='@@@'><body>lost</body></message>
S: <message from='romeo@example.net'><body>good</body></message>`)
		var got []string
		for m := range c.Messages(s.Context()) {
			got = append(got, m.Body()+" "+m.From.String())
			if m.Unsafe != (m.Body() == "unsafe") {
				s.Errorf("%v is marked as unsafe %v", m, m.Unsafe)
			}
			if len(got) == 2 {
				break
			}
		}
		if want := "unsafe room@example.net/a\u00adb|good romeo@example.net"; strings.Join(got, "|") != want {
			s.Errorf("got %q", got)
		}
		s.end(c, server)
	})
}

// A cut connection is resumed at once, and nothing is lost (XEP-0198 §5).
func TestResumed(t *testing.T) {
	onStage(t, func(s *stage) {
		var resumed, lost int
		c, server := s.online(func(c *Client) {
			c.Use(&Extension{Name: "test", Resumed: func() { resumed++ }, Lost: func(error) { lost++ }})
		})
		sent, err := c.Send(s.Context(), body("1"))
		if err != nil {
			s.Fatal(err)
		}
		answer := make(chan error, 1)
		go func() {
			_, err := c.Get(s.Context(), jid.MustParse("romeo@example.net"), xmltree.New("urn:xmpp:ping", "ping"))
			answer <- err
		}()
		synctest.Wait()
		server.play("CUT")
		start := time.Now()
		server = s.accept()
		server.play(login + `
C: <resume xmlns='urn:xmpp:sm:3' previd='sm-1' h='1'/>
S: <resumed xmlns='urn:xmpp:sm:3' previd='sm-1' h='3'/>
C: <iq type='get' to='romeo@example.net' id='{id}'><any/></iq>
C: <r xmlns='urn:xmpp:sm:3'/>
S: <iq type='result' from='romeo@example.net' id='{id}'/><a xmlns='urn:xmpp:sm:3' h='4'/>`)
		if err := errors.Join(sent.Wait(s.Context()), <-answer); err != nil {
			s.Error(err)
		}
		synctest.Wait()
		if st := c.Status(); st.State != Online || !st.Resumed || time.Since(start) > time.Second || resumed != 1 || lost != 1 {
			s.Errorf("%+v after %v, resumed %d, lost %d", st, time.Since(start), resumed, lost)
		}
		s.end(c, server)
	})
}

// A resumption that is refused: what the server had is settled, the rest is unknown, and so are requests.
func TestNotResumed(t *testing.T) {
	onStage(t, func(s *stage) {
		c, server := s.online(nil)
		first, _ := c.Send(s.Context(), body("1"))
		synctest.Wait()
		second, _ := c.Send(s.Context(), body("2"))
		answer := make(chan error, 1)
		go func() {
			_, err := c.Get(s.Context(), jid.MustParse("romeo@example.net"), xmltree.New("urn:xmpp:ping", "ping"))
			answer <- err
		}()
		synctest.Wait()
		server.play("CUT")
		server = s.accept()
		server.play(login + `
C: <resume xmlns='urn:xmpp:sm:3' previd='sm-1' h='1'/>
S: <failed xmlns='urn:xmpp:sm:3' h='3'><item-not-found xmlns='urn:ietf:params:xml:ns:xmpp-stanzas'/></failed>
` + bind + `
C: <iq type='get' id='{again}'><query xmlns='jabber:iq:roster' ver='v1'/></iq>
C: <r xmlns='urn:xmpp:sm:3'/>
S: <iq type='result' id='{again}'/><a xmlns='urn:xmpp:sm:3' h='1'/>
C: <presence><c any='' xmlns='http://jabber.org/protocol/caps'/></presence>
C: <r xmlns='urn:xmpp:sm:3'/>
S: <a xmlns='urn:xmpp:sm:3' h='2'/>`)
		if err := first.Wait(s.Context()); err != nil {
			s.Errorf("the first: %v", err)
		}
		if err := second.Wait(s.Context()); err != ErrUnknown {
			s.Errorf("the second: %v", err)
		}
		if err := <-answer; err != ErrUnknown {
			s.Errorf("the request: %v", err)
		}
		synctest.Wait()
		if st := c.Status(); st.State != Online || st.Resumed || len(c.Roster().All()) != 1 {
			s.Errorf("%+v, %v", st, c.Roster().All())
		}
		s.end(c, server)
	})
}

// Waits between attempts double and are scattered; a change of network ends them.
func TestBackoff(t *testing.T) {
	onStage(t, func(s *stage) {
		c, server := s.online(nil)
		s.listen.Close()
		server.play("CUT")
		var waits []time.Duration
		for st := range c.Statuses(s.Context()) {
			if st.State != Waiting || len(waits) == 0 && !time.Now().Before(st.Until) {
				continue
			}
			waits = append(waits, time.Until(st.Until))
			if len(waits) == 12 {
				break
			}
		}
		// The first attempt is made at once; what is seen are the waits after it.
		low, high := 500*time.Millisecond, time.Second
		for i, d := range waits {
			if d < low || d > high {
				s.Errorf("wait %d is %v, want %v to %v", i, d, low, high)
			}
			low, high = min(2*low, time.Minute), min(2*high, 2*time.Minute)
		}
		listen, err := s.server.Listen(s.Context(), "tcp", ":5222")
		if err != nil {
			s.Fatal(err)
		}
		s.listen = listen
		before := time.Now()
		c.NetworkChanged()
		conn := s.accept()
		if time.Since(before) != 0 {
			s.Errorf("after a change of network it waits %v", time.Since(before))
		}
		conn.play("CUT")
		c.Close(s.Context())
		listen.Close()
	})
}

func TestMelliumSession(t *testing.T) {
	onStage(t, func(s *stage) {
		c, server := s.online(nil)
		server.peer.AutoAck = true
		session, err := c.Session(s.Context())
		if err != nil {
			s.Fatal(err)
		}
		if again, err := c.Session(s.Context()); again != session || err != nil {
			s.Errorf("another session, %v", err)
		}
		done := make(chan error, 1)
		go func() { done <- ping.Send(s.Context(), session, jid.MustParse("romeo@example.net")) }()
		server.play(`C: <iq type='get' to='romeo@example.net' id='{p}'><ping xmlns='urn:xmpp:ping'/></iq>
S: <iq type='result' from='mallory@example.net' id='{p}'/>
S: <iq type='error' from='romeo@example.net' id='{p}'><error type='cancel'><item-not-found xmlns='urn:ietf:params:xml:ns:xmpp-stanzas'/></error></iq>`)
		var refused stanza.Error
		if err := <-done; !errors.As(err, &refused) || refused.Condition != stanza.ItemNotFound {
			s.Errorf("ping: %v", err)
		}
		s.end(c, server)
	})
}
