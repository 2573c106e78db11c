package xmpplink

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hoorn-phone/hoorn/internal/memnet"
	"github.com/hoorn-phone/hoorn/internal/sasl"
	"github.com/hoorn-phone/hoorn/internal/xmppdial"
	"github.com/hoorn-phone/hoorn/internal/xmpplink/linktest"
	"github.com/hoorn-phone/hoorn/xmpp/xmltree"
)

// The parts of scripts with SASL2, after XEP-0388 §2, XEP-0386 §3 and XEP-0484 §3: TLS, features, the answer to a login.
const (
	secured = `
C: <stream:stream to='im.example.com' version='1.0'>
S: <stream:stream from='im.example.com' id='1' version='1.0'>
S: <stream:features><starttls xmlns='urn:ietf:params:xml:ns:xmpp-tls'><required/></starttls></stream:features>
C: <starttls xmlns='urn:ietf:params:xml:ns:xmpp-tls'/>
S: <proceed xmlns='urn:ietf:params:xml:ns:xmpp-tls'/>
TLS
C: <stream:stream from='juliet@im.example.com' to='im.example.com' version='1.0'>
S: <stream:stream from='im.example.com' id='2' version='1.0'>
`
	offer2 = `
S: <stream:features><authentication xmlns='urn:xmpp:sasl:2'><mechanism>PLAIN</mechanism>
  <inline><bind xmlns='urn:xmpp:bind:0'><inline><feature var='urn:xmpp:carbons:2'/><feature var='urn:xmpp:csi:0'/><feature var='urn:xmpp:sm:3'/></inline></bind>
  <sm xmlns='urn:xmpp:sm:3'/><fast xmlns='urn:xmpp:fast:0'><mechanism>HT-SHA-256-NONE</mechanism></fast></inline></authentication></stream:features>
`
	agent = `<user-agent id='d4565fa7-4d72-4749-b3d3-740edbf87770'><software>AwesomeXMPP</software><device>Kiva</device></user-agent>`

	plainLogin = `
C: <authenticate xmlns='urn:xmpp:sasl:2' mechanism='PLAIN'><initial-response>AGp1bGlldAByMG0zMG15cjBtMzA=</initial-response>` + agent + `
  <request-token xmlns='urn:xmpp:fast:0' mechanism='HT-SHA-256-NONE'/>
  <bind xmlns='urn:xmpp:bind:0'><tag>balcony</tag><enable xmlns='urn:xmpp:sm:3' resume='true'/><enable xmlns='urn:xmpp:carbons:2'/></bind></authenticate>
`
	welcome = `
S: <success xmlns='urn:xmpp:sasl:2'><authorization-identifier>juliet@im.example.com/balcony.4232f4d4</authorization-identifier>
  <bound xmlns='urn:xmpp:bind:0'><enabled xmlns='urn:xmpp:sm:3' id='some-long-sm-id' resume='true' max='300'/></bound>
  <token xmlns='urn:xmpp:fast:0' expiry='2000-03-12T14:36:15Z' token='WXZzciBwYmFmdmZnZiBqdmd1IGp2eXFhcmZm'/></success>
S: <stream:features><bind xmlns='urn:ietf:params:xml:ns:xmpp-bind'/><sm xmlns='urn:xmpp:sm:3'/></stream:features>
`
)

// sasl2 makes the stage's client one that knows SASL2.
func (s *stage) sasl2() *MemoryTokens {
	tokens := new(MemoryTokens)
	s.cfg.Agent = Agent{ID: "d4565fa7-4d72-4749-b3d3-740edbf87770", Software: "AwesomeXMPP", Device: "Kiva"}
	s.cfg.Tokens, s.cfg.Memory = tokens, new(Memory)
	s.cfg.Inline = []*xmltree.Element{xmltree.New("urn:xmpp:carbons:2", "enable"), xmltree.New("urn:example:unknown", "enable")}
	return tokens
}

// The flow of XEP-0386 §3.2: one request signs in, binds, turns on stream management and carbons, and gets a token.
func TestSASL2(t *testing.T) {
	onStage(t, func(s *stage) {
		tokens := s.sasl2()
		ended := s.serve(secured + offer2 + plainLogin + welcome + `
C: <message to='romeo@example.net'><body>1</body></message>
C: <r xmlns='urn:xmpp:sm:3'/>
S: <a xmlns='urn:xmpp:sm:3' h='1'/>
CUT`)
		stream, err := s.open(s.Context(), nil)
		if err != nil {
			s.Fatal(err, <-ended)
		}
		session := stream.Session()
		if got := session.JID.String(); got != "juliet@im.example.com/balcony.4232f4d4" || !session.Resumable() || session.Window() != 5*time.Minute {
			s.Errorf("bound to %s, resumable %v", got, session.Resumable())
		}
		if !slices.Equal(stream.Inlined, []string{"urn:xmpp:carbons:2"}) || stream.Features().Child(nsBind, "bind") == nil {
			s.Errorf("with the session came %q; features %v", stream.Inlined, stream.Features())
		}
		token, _ := tokens.LoadToken(s.Context())
		if token == nil || token.Mechanism != "HT-SHA-256-NONE" || token.Secret != "WXZzciBwYmFmdmZnZiBqdmd1IGp2eXFhcmZm" || token.Expires.Format(time.RFC3339) != "2000-03-12T14:36:15Z" {
			s.Errorf("token %v", token)
		}
		if text := fmt.Sprintf("%v %+v %#v", token, *token, token); strings.Contains(text, token.Secret) {
			s.Error("the token is shown")
		}
		sent, err := stream.Send(s.Context(), body("1"))
		if err != nil {
			s.Error(err)
		}
		stream.Run(nil, nil)
		if <-sent.Done; sent.Err != nil {
			s.Error(sent.Err)
		}
		if err := <-ended; err != nil {
			s.Error(err)
		}
	})
}

// XEP-0388 §2.6.3: tasks that nobody here can do are an error that names them.
func TestTasks(t *testing.T) {
	onStage(t, func(s *stage) {
		s.sasl2()
		ended := s.serve(secured + offer2 + plainLogin + `
S: <continue xmlns='urn:xmpp:sasl:2'><additional-data>SSdtIGJvcmVkIG5vdy4=</additional-data>
  <tasks><task>HOTP-EXAMPLE</task><task>TOTP-EXAMPLE</task></tasks><text>This account requires 2FA</text></continue>
C: <abort xmlns='urn:xmpp:sasl:2'/>
S: <failure xmlns='urn:xmpp:sasl:2'><aborted xmlns='urn:ietf:params:xml:ns:xmpp-sasl'/></failure>
END`)
		_, err := s.open(s.Context(), nil)
		var auth *AuthError
		var tasks *TasksError
		if !errors.As(err, &auth) || !auth.Permanent() || !errors.As(err, &tasks) || !slices.Equal(tasks.Tasks, []string{"HOTP-EXAMPLE", "TOTP-EXAMPLE"}) || tasks.Text != "This account requires 2FA" {
			s.Errorf("got %v", err)
		}
		if err := <-ended; err != nil {
			s.Error(err)
		}
	})
}

// A token that the server does not take any more is forgotten, and the password signs in on the same stream (XEP-0484 §4.1).
func TestTokenRefused(t *testing.T) {
	onStage(t, func(s *stage) {
		tokens := s.sasl2()
		tokens.SaveToken(s.Context(), &Token{Mechanism: "HT-SHA-256-NONE", Secret: "old"})
		ended := s.serve(secured + offer2 + `
C: <authenticate xmlns='urn:xmpp:sasl:2' mechanism='HT-SHA-256-NONE'><initial-response>{*}</initial-response>` + agent + `<fast xmlns='urn:xmpp:fast:0'/>
  <bind xmlns='urn:xmpp:bind:0'><tag>balcony</tag><any/></bind></authenticate>
S: <failure xmlns='urn:xmpp:sasl:2'><credentials-expired xmlns='urn:ietf:params:xml:ns:xmpp-sasl'/></failure>
` + plainLogin + welcome + "CUT")
		stream, err := s.open(s.Context(), nil)
		if err != nil {
			s.Fatal(err, <-ended)
		}
		if token, _ := tokens.LoadToken(s.Context()); token == nil || token.Secret == "old" {
			s.Errorf("token %v", token)
		}
		stream.Run(nil, nil)
		if err := <-ended; err != nil {
			s.Error(err)
		}
	})
}

// A server that says success but does not have the token is somebody else (draft-schmaus-kitten-sasl-ht §3.3).
func TestTokenServer(t *testing.T) {
	onStage(t, func(s *stage) {
		tokens := s.sasl2()
		tokens.SaveToken(s.Context(), &Token{Mechanism: "HT-SHA-256-NONE", Secret: "mine"})
		ended := s.serve(secured + offer2 + `
C: <authenticate any='' xmlns='urn:xmpp:sasl:2'><any/></authenticate>
S: <success xmlns='urn:xmpp:sasl:2'><authorization-identifier>juliet@im.example.com/x</authorization-identifier></success>
END`)
		_, err := s.open(s.Context(), nil)
		if !errors.Is(err, sasl.ErrServerSignature) {
			s.Errorf("got %v", err)
		}
		if token, _ := tokens.LoadToken(s.Context()); token != nil {
			s.Error("the token is kept")
		}
		if err := <-ended; err != nil {
			s.Error(err)
		}
	})
}

// onServer puts a whole server on the stage, with TLS from the first byte.
func onServer(t *testing.T, test func(*stage, *linktest.Server)) {
	onStage(t, func(s *stage) {
		server := &linktest.Server{Domain: "im.example.com", Username: "juliet", Password: "r0m30myr0m30", TLS: s.tls, Direct: true, Management: true}
		s.cfg.Policy.AllowPlain = false
		s.cfg.Memory = new(Memory)
		l, err := s.server.Listen(s.Context(), "tcp", ":5223")
		if err != nil {
			s.Fatal(err)
		}
		done := make(chan struct{})
		go func() { defer close(done); server.Serve(l) }()
		defer func() { l.Close(); <-done }()
		test(s, server)
	})
}

func (s *stage) direct(ctx context.Context, session *Session) (*Stream, error) {
	conn, err := s.client.Dial(ctx, "tcp", "10.0.0.2:5223")
	if err != nil {
		return nil, err
	}
	return s.cfg.Open(ctx, &Conn{Net: conn, Target: xmppdial.Target{Domain: "im.example.com", Direct: true}}, session)
}

// Round trips before the first message leaves, TCP and TLS 1.3 among them, with SCRAM and XEP-0198.
func TestRoundTrips(t *testing.T) {
	const latency = 50 * time.Millisecond
	for _, c := range []struct {
		name         string
		sasl2        bool
		cold, resume int
	}{
		{"RFC 6120", false, 7, 7},
		{"SASL2, Bind 2 and FAST, XEP-0388, XEP-0386, XEP-0484", true, 5, 3},
	} {
		t.Run(c.name, func(t *testing.T) {
			onServer(t, func(s *stage, server *linktest.Server) {
				s.net.Impair(s.client, s.server, memnet.Impairment{Latency: latency})
				server.SASL2, server.Tokens = c.sasl2, []string{"HT-SHA-256-ENDP", "HT-SHA-256-EXPR", "HT-SHA-256-NONE"}
				s.sasl2()
				var arrived time.Time
				server.Received = func(*xmltree.Element) { arrived = time.Now() }
				var session *Session
				for _, want := range []int{c.cold, c.resume} {
					start := time.Now()
					stream, err := s.direct(s.Context(), session)
					if err != nil {
						s.Fatal(err)
					}
					resumed := session != nil
					if _, err := stream.Send(s.Context(), body("1")); err != nil {
						s.Fatal(err)
					}
					time.AfterFunc(5*time.Second, func() { stream.Cut(errors.New("cut")) })
					stream.Run(nil, nil)
					session = stream.Session()
					if got := arrived.Add(-latency).Sub(start); got != time.Duration(want)*2*latency || stream.Resumed != resumed {
						s.Errorf("resumed %v: %v round trips, want %d", stream.Resumed, float64(got)/float64(2*latency), want)
					}
				}
				if want := []string{"SCRAM-SHA-256", "HT-SHA-256-EXPR"}; c.sasl2 && !slices.Equal(server.Logins(), want) {
					s.Errorf("logins %q", server.Logins())
				}
			})
		})
	}
}

// Tokens that are void, that expire, that the server changes, and a channel binding that the server cannot do.
func TestTokenLives(t *testing.T) {
	onServer(t, func(s *stage, server *linktest.Server) {
		server.SASL2, server.Tokens, server.TokenTTL = true, []string{"HT-SHA-256-ENDP", "HT-SHA-256-NONE"}, time.Hour
		tokens := s.sasl2()
		var logins []string
		in := func(step, want string) {
			s.Helper()
			stream, err := s.direct(s.Context(), nil)
			if err != nil {
				s.Fatal(step, err)
			}
			stream.Cut(errors.New("cut"))
			logins = append(logins, want)
			if got := server.Logins(); !slices.Equal(got, logins) {
				s.Fatalf("%s: logins %q, want %q", step, got, logins)
			}
		}
		in("first", "SCRAM-SHA-256")
		in("with the token", "HT-SHA-256-ENDP")
		server.ForgetTokens()
		in("void", "SCRAM-SHA-256")
		in("anew", "HT-SHA-256-ENDP")
		s.wait(2 * time.Hour)
		in("expired", "SCRAM-SHA-256")
		server.Rotate = true
		before, _ := tokens.LoadToken(s.Context())
		in("changed", "HT-SHA-256-ENDP")
		if after, _ := tokens.LoadToken(s.Context()); after == nil || *after == *before {
			s.Error("the token stayed")
		}
		server.Rotate = false
		in("with the new one", "HT-SHA-256-ENDP")

		// From here on the server's channel binding is broken.
		server.Bind = func(sasl.Binding, *tls.ConnectionState) ([]byte, error) { return []byte("broken"), nil }
		in("broken", "SCRAM-SHA-256")
		in("broken from the first use on", "SCRAM-SHA-256")
		in("without binding", "HT-SHA-256-NONE")
	})
}

// wait lets virtual time pass.
func (s *stage) wait(d time.Duration) {
	ctx, cancel := context.WithTimeout(s.Context(), d)
	defer cancel()
	<-ctx.Done()
	synctest.Wait()
}

// A server that does not know any more what it knew is met with its header alone the next time.
func TestEarlyLoginFails(t *testing.T) {
	onServer(t, func(s *stage, server *linktest.Server) {
		server.SASL2, server.Tokens = true, []string{"HT-SHA-256-NONE"}
		s.sasl2()
		for range 2 {
			stream, err := s.direct(s.Context(), nil)
			if err != nil {
				s.Fatal(err)
			}
			stream.Cut(errors.New("cut"))
		}
		server.SASL2 = false
		var e *Error
		if _, err := s.direct(s.Context(), nil); !errors.As(err, &e) || e.Stage != StageAuth {
			s.Errorf("got %v", err)
		}
		stream, err := s.direct(s.Context(), nil)
		if err != nil {
			s.Fatal(err)
		}
		stream.Cut(errors.New("cut"))
	})
}

// Whoever takes the better mechanisms out of SASL2's list does not get a password by the worse ones.
func TestNoDowngrade(t *testing.T) {
	for _, c := range []struct {
		name  string
		strip func(features *xmltree.Element)
	}{
		{"SASL2 is gone, SASL has PLAIN", func(f *xmltree.Element) {
			f.Remove(nsSASL2, "authentication")
			f.Remove(nsSASL, "mechanisms")
			f.Add(xmltree.New(nsSASL, "mechanisms", xmltree.NewText(nsSASL, "mechanism", "PLAIN")))
		}},
		{"both have PLAIN alone", func(f *xmltree.Element) {
			for _, e := range []*xmltree.Element{f.Child(nsSASL2, "authentication"), f.Child(nsSASL, "mechanisms")} {
				for e.Remove(e.Name.Space, "mechanism") {
				}
				e.Add(xmltree.NewText(e.Name.Space, "mechanism", "PLAIN"))
			}
		}},
		{"a weaker hash", func(f *xmltree.Element) {
			for _, e := range []*xmltree.Element{f.Child(nsSASL2, "authentication"), f.Child(nsSASL, "mechanisms")} {
				for e.Remove(e.Name.Space, "mechanism") {
				}
				e.Add(xmltree.NewText(e.Name.Space, "mechanism", "SCRAM-SHA-1"))
			}
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			onServer(t, func(s *stage, server *linktest.Server) {
				server.SASL2, server.Mechanisms = true, []string{"SCRAM-SHA-256", "SCRAM-SHA-1", "PLAIN"}
				s.cfg.Policy.AllowPlain = true
				stream, err := s.direct(s.Context(), nil)
				if err != nil {
					s.Fatal(err)
				}
				stream.Cut(errors.New("cut"))
				server.Strip = c.strip
				if _, err := s.direct(s.Context(), nil); !errors.Is(err, sasl.ErrDowngrade) {
					s.Errorf("got %v", err)
				}
				if got := server.Logins(); !slices.Equal(got, []string{"SCRAM-SHA-256"}) {
					s.Errorf("logins %q", got)
				}
			})
		})
	}
}
