package xmpplink

import (
	"context"
	"crypto/tls"
	"errors"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/hoorn-phone/hoorn/internal/xmppdial"
	"github.com/hoorn-phone/hoorn/xmpp/xmltree"
	"github.com/hoorn-phone/hoorn/xmpp/xmpptest"
)

// The flow of RFC 7395 §3.3 to §3.6, up to a resource.
const (
	wsOpen = `
C: <open xmlns='urn:ietf:params:xml:ns:xmpp-framing' to='im.example.com' from='juliet@im.example.com' version='1.0'/>
S: <open xmlns='urn:ietf:params:xml:ns:xmpp-framing' from='im.example.com' id='++TR84Sm6A3hnt3Q065SnAbbk3Y=' xml:lang='en' version='1.0'/>
`
	wsLogin = wsOpen + `
S: <stream:features xmlns:stream='http://etherx.jabber.org/streams'><mechanisms xmlns='urn:ietf:params:xml:ns:xmpp-sasl'><mechanism>PLAIN</mechanism></mechanisms></stream:features>
C: <auth xmlns='urn:ietf:params:xml:ns:xmpp-sasl' mechanism='PLAIN'>AGp1bGlldAByMG0zMG15cjBtMzA=</auth>
S: <success xmlns='urn:ietf:params:xml:ns:xmpp-sasl'/>
` + wsOpen
	wsBind = `
S: <stream:features xmlns:stream='http://etherx.jabber.org/streams'><bind xmlns='urn:ietf:params:xml:ns:xmpp-bind'/><sm xmlns='urn:xmpp:sm:3'/></stream:features>
C: <iq xmlns='jabber:client' type='set' id='{id}'><bind xmlns='urn:ietf:params:xml:ns:xmpp-bind'><resource>balcony</resource></bind></iq>
S: <iq xmlns='jabber:client' type='result' id='{id}'><bind xmlns='urn:ietf:params:xml:ns:xmpp-bind'><jid>juliet@im.example.com/balcony</jid></bind></iq>
C: <enable xmlns='urn:xmpp:sm:3' resume='true'/>
S: <enabled xmlns='urn:xmpp:sm:3' id='some-long-sm-id' resume='true' max='300'/>
`
)

// serveWS plays a script on the next WebSocket, and returns how to open that.
func (s *stage) serveWS(script string) (open func(context.Context, *Session) (*Stream, error), ended <-chan error) {
	s.Helper()
	l, err := s.server.Listen(s.Context(), "tcp", ":443")
	if err != nil {
		s.Fatal(err)
	}
	result := make(chan error, 1)
	srv := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		p, err := xmpptest.NewWebSocketPeer(w, r)
		if err != nil {
			result <- err
			return
		}
		defer p.Close()
		result <- p.Play(s.Context(), script)
	})}
	stopped := make(chan struct{})
	go func() { defer close(stopped); srv.Serve(tls.NewListener(l, s.tls)) }()
	s.Cleanup(func() { srv.Close(); <-stopped })
	web := &xmppdial.Web{TLS: s.cfg.TLS, Dial: func(ctx context.Context, network, _ string) (net.Conn, error) {
		return s.client.Dial(ctx, network, "10.0.0.2:443")
	}}
	return func(ctx context.Context, session *Session) (*Stream, error) {
		ws, err := web.DialWebSocket(ctx, "wss://im.example.com/xmpp-websocket")
		if err != nil {
			return nil, err
		}
		return s.cfg.Open(ctx, &Conn{WebSocket: ws}, session)
	}, result
}

// RFC 7395 §3.3.3: each stanza is a message, with its namespace; §3.5: <close/> is answered by <close/>.
func TestWebSocket(t *testing.T) {
	onStage(t, func(s *stage) {
		open, ended := s.serveWS(wsLogin + wsBind + `
C: <message xmlns='jabber:client' to='romeo@example.net'><body>1</body></message>
C: <message xmlns='jabber:client' to='romeo@example.net'><body>2</body></message>
C: <r xmlns='urn:xmpp:sm:3'/>
S: <a xmlns='urn:xmpp:sm:3' h='2'/>
S: <message xmlns='jabber:client' from='romeo@example.net/orchard'><body>one</body></message>
S: <message xmlns='jabber:client' id='nonsense'><a></b></message>
S: <r xmlns='urn:xmpp:sm:3'/>
C: <a xmlns='urn:xmpp:sm:3' h='2'/>
C: <a xmlns='urn:xmpp:sm:3' h='2'/>
C: <close xmlns='urn:ietf:params:xml:ns:xmpp-framing'/>
S: <close xmlns='urn:ietf:params:xml:ns:xmpp-framing'/>
END`)
		stream, err := open(s.Context(), nil)
		if err != nil {
			s.Fatal(err, <-ended)
		}
		if stream.Session().JID.String() != "juliet@im.example.com/balcony" || stream.Secure() != tls.VersionTLS13 {
			s.Errorf("bound to %v", stream.Session().JID)
		}
		for _, text := range []string{"1", "2"} {
			if _, err := stream.Send(s.Context(), body(text)); err != nil {
				s.Error(err)
			}
		}
		var got []string
		time.AfterFunc(time.Second, func() { stream.Close(s.Context()) })
		err = stream.Run(func(e *xmltree.Element) { got = append(got, e.Child("jabber:client", "body").Text()) },
			func(k Skip) { got = append(got, "-"+k.Local+"-"+k.ID) })
		if err != ErrClosed || strings.Join(got, " ") != "one -message-nonsense" {
			s.Errorf("got %q, %v", got, err)
		}
		if err := <-ended; err != nil {
			s.Error(err)
		}
	})
}

// RFC 7395 §3.6.1: a server sends the client elsewhere, before the stream begins or while it runs.
func TestSeeOtherURI(t *testing.T) {
	const away = "S: <close xmlns='urn:ietf:params:xml:ns:xmpp-framing' see-other-uri='wss://otherendpoint.example/xmpp-bind'/>\nEND"
	for _, c := range []struct{ name, script string }{
		{"before", strings.SplitAfterN(wsOpen, "\n", 3)[1] + away},
		{"after the header", wsOpen + away},
		{"later", wsLogin + wsBind + away},
	} {
		t.Run(c.name, func(t *testing.T) {
			onStage(t, func(s *stage) {
				open, ended := s.serveWS(c.script)
				stream, err := open(s.Context(), nil)
				if err == nil {
					err = stream.Run(nil, nil)
				}
				var e *StreamError
				if !errors.As(err, &e) || e.Condition != "see-other-host" || e.Host != "wss://otherendpoint.example/xmpp-bind" {
					s.Errorf("got %v", err)
				}
				if err := <-ended; err != nil {
					s.Error(err)
				}
			})
		})
	}
}

// A session goes on over another kind of connection.
func TestWebSocketResume(t *testing.T) {
	onStage(t, func(s *stage) {
		ended := s.serve(signIn + managedFeatures + bindBalcony + enable + `
C: <message to='romeo@example.net'><body>1</body></message>
C: <r xmlns='urn:xmpp:sm:3'/>
CUT`)
		stream, err := s.open(s.Context(), nil)
		if err != nil {
			s.Fatal(err, <-ended)
		}
		sent, err := stream.Send(s.Context(), body("1"))
		if err != nil {
			s.Error(err)
		}
		stream.Run(nil, nil)
		<-ended
		open, ended := s.serveWS(wsLogin + `
S: <stream:features xmlns:stream='http://etherx.jabber.org/streams'><bind xmlns='urn:ietf:params:xml:ns:xmpp-bind'/><sm xmlns='urn:xmpp:sm:3'/></stream:features>
C: <resume xmlns='urn:xmpp:sm:3' h='0' previd='some-long-sm-id'/>
S: <resumed xmlns='urn:xmpp:sm:3' h='0' previd='some-long-sm-id'/>
C: <message xmlns='jabber:client' to='romeo@example.net'><body>1</body></message>
C: <r xmlns='urn:xmpp:sm:3'/>
S: <a xmlns='urn:xmpp:sm:3' h='1'/>
CUT`)
		again, err := open(s.Context(), stream.Session())
		if err != nil || !again.Resumed {
			s.Fatal(again, err, <-ended)
		}
		again.Run(nil, nil)
		if <-sent.Done; sent.Err != nil {
			s.Error(sent.Err)
		}
		if err := <-ended; err != nil {
			s.Error(err)
		}
	})
}
