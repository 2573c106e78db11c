package xmpplink

import (
	"context"
	"crypto/tls"
	"errors"
	"net"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"mellium.im/xmpp/jid"

	"github.com/hoorn-phone/hoorn/internal/memnet"
	"github.com/hoorn-phone/hoorn/internal/sasl"
	"github.com/hoorn-phone/hoorn/internal/testca"
	"github.com/hoorn-phone/hoorn/internal/xmppdial"
	"github.com/hoorn-phone/hoorn/xmpp/xmltree"
	"github.com/hoorn-phone/hoorn/xmpp/xmpptest"
)

// The flow of RFC 6120 §9.1, up to the login.
const (
	signIn = `
C: <stream:stream to='im.example.com' version='1.0'>
S: <stream:stream from='im.example.com' id='t7AMCin9zjMNwQKDnplntZPIDEI=' version='1.0' xml:lang='en'>
S: <stream:features><starttls xmlns='urn:ietf:params:xml:ns:xmpp-tls'><required/></starttls></stream:features>
C: <starttls xmlns='urn:ietf:params:xml:ns:xmpp-tls'/>
S: <proceed xmlns='urn:ietf:params:xml:ns:xmpp-tls'/>
TLS
C: <stream:stream from='juliet@im.example.com' to='im.example.com' version='1.0'>
S: <stream:stream from='im.example.com' id='vgKi/bkYME8OAj4rlXMkpucAqe4=' version='1.0' xml:lang='en'>
S: <stream:features><mechanisms xmlns='urn:ietf:params:xml:ns:xmpp-sasl'><mechanism>PLAIN</mechanism></mechanisms></stream:features>
C: <auth xmlns='urn:ietf:params:xml:ns:xmpp-sasl' mechanism='PLAIN'>AGp1bGlldAByMG0zMG15cjBtMzA=</auth>
S: <success xmlns='urn:ietf:params:xml:ns:xmpp-sasl'/>
C: <stream:stream from='juliet@im.example.com' to='im.example.com' version='1.0'>
S: <stream:stream from='im.example.com' id='gPybzaOzBmaADgxKXu9UClbprp0=' version='1.0' xml:lang='en'>
`
	bindFeatures = `S: <stream:features><bind xmlns='urn:ietf:params:xml:ns:xmpp-bind'/></stream:features>
`
	managedFeatures = `S: <stream:features><bind xmlns='urn:ietf:params:xml:ns:xmpp-bind'/><sm xmlns='urn:xmpp:sm:3'/></stream:features>
`
	bindBalcony = `
C: <iq type='set' id='{id}'><bind xmlns='urn:ietf:params:xml:ns:xmpp-bind'><resource>balcony</resource></bind></iq>
S: <iq type='result' id='{id}'><bind xmlns='urn:ietf:params:xml:ns:xmpp-bind'><jid>juliet@im.example.com/balcony</jid></bind></iq>
`
	enable = `
C: <enable xmlns='urn:xmpp:sm:3' resume='true'/>
S: <enabled xmlns='urn:xmpp:sm:3' id='some-long-sm-id' resume='true' max='300'/>
`
)

// stage is a client and a scripted server in a bubble of virtual time.
type stage struct {
	*testing.T
	cfg    Config
	net    *memnet.Network
	client *memnet.Host
	server *memnet.Host
	tls    *tls.Config
	listen net.Listener
}

func onStage(t *testing.T, test func(*stage)) {
	synctest.Test(t, func(t *testing.T) {
		n := memnet.New()
		s := &stage{T: t, net: n, client: n.Host("10.0.0.1"), server: n.Host("10.0.0.2")}
		ca, err := testca.NewCA(time.Now())
		if err != nil {
			t.Fatal(err)
		}
		cert, err := ca.Issue(testca.Template{DNS: []string{"im.example.com"}})
		if err != nil {
			t.Fatal(err)
		}
		s.tls = &tls.Config{Certificates: []tls.Certificate{cert}}
		roots := ca.Pool()
		if s.listen, err = s.server.Listen(t.Context(), "tcp", ":5222"); err != nil {
			t.Fatal(err)
		}
		defer s.listen.Close()
		s.cfg = Config{Account: jid.MustParse("juliet@im.example.com"), Resource: "balcony", TLS: &tls.Config{RootCAs: roots},
			Credentials: sasl.Credentials{Username: "juliet", Password: "r0m30myr0m30"}, Policy: sasl.Policy{AllowPlain: true}}
		test(s)
	})
}

// serve plays a script to the next client. The error is there when it has ended.
func (s *stage) serve(script string) <-chan error {
	ended := make(chan error, 1)
	go func() {
		conn, err := s.listen.Accept()
		if err != nil {
			ended <- err
			return
		}
		p := xmpptest.NewPeer(conn)
		p.TLS = s.tls
		defer p.Close()
		ended <- p.Play(s.Context(), script)
	}()
	return ended
}

func (s *stage) open(ctx context.Context, session *Session) (*Stream, error) {
	conn, err := s.client.Dial(ctx, "tcp", "10.0.0.2:5222")
	if err != nil {
		s.Fatal(err)
	}
	return s.cfg.Open(ctx, &Conn{Net: conn, Target: xmppdial.Target{Domain: "im.example.com"}}, session)
}

func body(text string) *xmltree.Element {
	return xmltree.New("jabber:client", "message", xmltree.NewText("jabber:client", "body", text)).Set("to", "romeo@example.net")
}

func TestOpenAndClose(t *testing.T) {
	onStage(t, func(s *stage) {
		ended := s.serve(signIn + bindFeatures + bindBalcony + `
C: <message to='romeo@example.net'><body>Art thou not Romeo, and a Montague?</body></message>
S: <message from='romeo@example.net/orchard' to='juliet@im.example.com/balcony'><body>Neither, fair saint, if either thee dislike.</body></message>
C: </stream:stream>
S: </stream:stream>
END`)
		stream, err := s.open(s.Context(), nil)
		if err != nil {
			s.Fatal(err, <-ended)
		}
		if got := stream.Session().JID.String(); got != "juliet@im.example.com/balcony" || stream.Session().Resumable() || stream.Secure() != tls.VersionTLS13 {
			s.Errorf("bound to %s", got)
		}
		if _, err := stream.Send(s.Context(), body("Art thou not Romeo, and a Montague?")); err != nil {
			s.Error(err)
		}
		var got []string
		err = stream.Run(func(e *xmltree.Element) {
			got = append(got, e.Child("jabber:client", "body").Text())
			go stream.Close(s.Context())
		}, nil)
		if err != ErrClosed || len(got) != 1 || !strings.HasPrefix(got[0], "Neither") {
			s.Errorf("got %q, %v", got, err)
		}
		if err := <-ended; err != nil {
			s.Error(err)
		}
	})
}

func TestRefusals(t *testing.T) {
	header := strings.SplitAfter(signIn, "\n")
	before := strings.Join(header[:3], "") // up to the server's first header
	secure := strings.Join(header[:9], "") // up to its second
	for _, c := range []struct {
		name, script string
		stage        Stage
		is           func(error) bool
	}{
		{"no TLS, RFC 7590 §3.1", before + `S: <stream:features><mechanisms xmlns='urn:ietf:params:xml:ns:xmpp-sasl'><mechanism>PLAIN</mechanism></mechanisms></stream:features>
END`, StageTLS, func(err error) bool { return errors.Is(err, errNoTLS) }},
		{"stanzas injected behind <proceed/>", before + `S: <stream:features><starttls xmlns='urn:ietf:params:xml:ns:xmpp-tls'/></stream:features>
C: <starttls xmlns='urn:ietf:params:xml:ns:xmpp-tls'/>
S: <proceed xmlns='urn:ietf:params:xml:ns:xmpp-tls'/><message/>
END`, StageTLS, func(err error) bool { return errors.Is(err, errInjected) }},
		{"host-unknown, RFC 6120 §4.9.3.6", before + `S: <stream:error><host-unknown xmlns='urn:ietf:params:xml:ns:xmpp-streams'/></stream:error></stream:stream>
END`, StageOpen, func(err error) bool {
			var e *StreamError
			return errors.Is(err, &StreamError{Condition: "host-unknown"}) && errors.As(err, &e) && e.Permanent()
		}},
		{"see-other-host, RFC 6120 §4.9.3.19", before + `S: <stream:error><see-other-host xmlns='urn:ietf:params:xml:ns:xmpp-streams'>[2001:41D0:1:A49b::1]:9222</see-other-host></stream:error>
END`, StageOpen, func(err error) bool {
			var e *StreamError
			return errors.As(err, &e) && e.Host == "[2001:41D0:1:A49b::1]:9222"
		}},
		{"older than 1.0, RFC 6120 §4.7.5", header[1] + `S: <stream:stream from='im.example.com' id='x'>
END`, StageOpen, func(error) bool { return true }},
		{"not-authorized, RFC 6120 §6.5.10", secure + `S: <stream:features><mechanisms xmlns='urn:ietf:params:xml:ns:xmpp-sasl'><mechanism>PLAIN</mechanism></mechanisms></stream:features>
C: <auth xmlns='urn:ietf:params:xml:ns:xmpp-sasl' mechanism='PLAIN'>{*}</auth>
S: <failure xmlns='urn:ietf:params:xml:ns:xmpp-sasl'><not-authorized/><text>no</text></failure>
END`, StageAuth, func(err error) bool {
			var e *AuthError
			return errors.As(err, &e) && e.Condition == "not-authorized" && e.Text == "no" && e.Permanent()
		}},
		{"challenge to PLAIN", secure + `S: <stream:features><mechanisms xmlns='urn:ietf:params:xml:ns:xmpp-sasl'><mechanism>PLAIN</mechanism></mechanisms></stream:features>
C: <auth xmlns='urn:ietf:params:xml:ns:xmpp-sasl' mechanism='PLAIN'>{*}</auth>
S: <challenge xmlns='urn:ietf:params:xml:ns:xmpp-sasl'>eA==</challenge>
C: <abort xmlns='urn:ietf:params:xml:ns:xmpp-sasl'/>
S: <failure xmlns='urn:ietf:params:xml:ns:xmpp-sasl'><aborted/></failure>
END`, StageAuth, func(err error) bool {
			var e *AuthError
			return errors.As(err, &e) && e.Err != nil
		}},
		{"resource-constraint, RFC 6120 §7.6.2.1", signIn + bindFeatures + `C: <iq type='set' id='{id}'><any/></iq>
S: <iq type='error' id='{id}'><error type='wait'><resource-constraint xmlns='urn:ietf:params:xml:ns:xmpp-stanzas'/></error></iq>
END`, StageBind, func(err error) bool {
			var e *BindError
			return errors.As(err, &e) && e.Condition == "resource-constraint"
		}},
		{"bound to nobody", signIn + bindFeatures + `C: <iq type='set' id='{id}'><any/></iq>
S: <iq type='result' id='{id}'><bind xmlns='urn:ietf:params:xml:ns:xmpp-bind'><jid>im.example.com</jid></bind></iq>
END`, StageBind, func(error) bool { return true }},
		{"silence", before + "END", StageOpen, func(err error) bool { return errors.Is(err, context.DeadlineExceeded) }},
		{"cut", before + "CUT", StageOpen, func(err error) bool { return err != nil }},
	} {
		t.Run(c.name, func(t *testing.T) {
			onStage(t, func(s *stage) {
				ended := s.serve(c.script)
				ctx, cancel := context.WithTimeout(s.Context(), time.Minute)
				defer cancel()
				_, err := s.open(ctx, nil)
				var e *Error
				if !errors.As(err, &e) || e.Stage != c.stage || !c.is(err) {
					s.Errorf("got %v", err)
				}
				if err := <-ended; err != nil {
					s.Error(err)
				}
			})
		})
	}
}

// The flow of XEP-0198 §5: what the server has is settled, the rest is sent again, in order and once.
func TestResume(t *testing.T) {
	onStage(t, func(s *stage) {
		ended := s.serve(signIn + managedFeatures + bindBalcony + enable + `
C: <message to='romeo@example.net'><body>1</body></message>
C: <r xmlns='urn:xmpp:sm:3'/>
S: <a xmlns='urn:xmpp:sm:3' h='1'/>
S: <message from='romeo@example.net'><body>one</body></message>
C: <message to='romeo@example.net'><body>2</body></message>
C: <r xmlns='urn:xmpp:sm:3'/>
C: <message to='romeo@example.net'><body>3</body></message>
C: <message to='romeo@example.net'><body>4</body></message>
CUT`)
		stream, err := s.open(s.Context(), nil)
		if err != nil {
			s.Fatal(err, <-ended)
		}
		var sent [5]*Sent
		send := func(i int, text string) {
			var err error
			if sent[i], err = stream.Send(s.Context(), body(text)); err != nil {
				s.Error(err)
			}
		}
		send(1, "1")
		err = stream.Run(func(e *xmltree.Element) { send(2, "2"); synctest.Wait(); send(3, "3"); send(4, "4") }, nil)
		if err == nil || err == ErrClosed {
			s.Errorf("the stream ended with %v", err)
		}
		if err := <-ended; err != nil {
			s.Fatal(err)
		}
		if <-sent[1].Done; sent[1].Err != nil {
			s.Errorf("the first: %v", sent[1].Err)
		}
		session := stream.Session()
		if !session.Resumable() || session.Window() != 5*time.Minute {
			s.Errorf("resumable %v for %v", session.Resumable(), session.Window())
		}
		ended = s.serve(signIn + managedFeatures + `
C: <resume xmlns='urn:xmpp:sm:3' h='1' previd='some-long-sm-id'/>
S: <resumed xmlns='urn:xmpp:sm:3' h='2' previd='some-long-sm-id'/>
C: <message to='romeo@example.net'><body>3</body></message>
C: <message to='romeo@example.net'><body>4</body></message>
C: <r xmlns='urn:xmpp:sm:3'/>
S: <a xmlns='urn:xmpp:sm:3' h='4'/><r xmlns='urn:xmpp:sm:3'/>
C: <a xmlns='urn:xmpp:sm:3' h='1'/>
S: </stream:stream>
C: </stream:stream>
END`)
		again, err := s.open(s.Context(), session)
		if err != nil || !again.Resumed || again.Session() != session {
			s.Fatal(again, err)
		}
		if err := again.Run(nil, nil); !errors.Is(err, ErrPeerClosed) {
			s.Errorf("the stream ended with %v", err)
		}
		for i := 2; i <= 4; i++ {
			if <-sent[i].Done; sent[i].Err != nil {
				s.Errorf("message %d: %v", i, sent[i].Err)
			}
		}
		if err := <-ended; err != nil {
			s.Error(err)
		}
	})
}

// XEP-0198 §5: <failed/> may say how much the server has all the same.
func TestResumeRefused(t *testing.T) {
	onStage(t, func(s *stage) {
		ended := s.serve(signIn + managedFeatures + bindBalcony + enable + `
C: <message to='romeo@example.net'><body>1</body></message>
C: <r xmlns='urn:xmpp:sm:3'/>
C: <message to='romeo@example.net'><body>2</body></message>
CUT`)
		stream, err := s.open(s.Context(), nil)
		if err != nil {
			s.Fatal(err, <-ended)
		}
		first, _ := stream.Send(s.Context(), body("1"))
		synctest.Wait()
		second, _ := stream.Send(s.Context(), body("2"))
		stream.Run(nil, nil)
		<-ended
		ended = s.serve(signIn + managedFeatures + `
C: <resume xmlns='urn:xmpp:sm:3' h='0' previd='some-long-sm-id'/>
S: <failed xmlns='urn:xmpp:sm:3' h='1'><item-not-found xmlns='urn:ietf:params:xml:ns:xmpp-stanzas'/></failed>
` + bindBalcony + enable + `CUT`)
		again, err := s.open(s.Context(), stream.Session())
		if err != nil || again.Resumed || again.Session() == stream.Session() || again.Lost == nil || !strings.Contains(again.Lost.Error(), "item-not-found") {
			s.Fatal(again, err, <-ended)
		}
		if <-first.Done; first.Err != nil {
			s.Errorf("the first: %v", first.Err)
		}
		if <-second.Done; second.Err != ErrUnknown {
			s.Errorf("the second: %v", second.Err)
		}
		again.Run(nil, nil)
		if err := <-ended; err != nil {
			s.Error(err)
		}
	})
}

// A server that has fallen silent is found out: 4 min of silence, 30 s for an answer.
func TestSilent(t *testing.T) {
	for name, c := range map[string]struct{ features, ask string }{
		"managed, XEP-0198 §4": {managedFeatures + bindBalcony + enable, "C: <r xmlns='urn:xmpp:sm:3'/>"},
		"by ping, XEP-0199 §4": {bindFeatures + bindBalcony, "C: <iq type='get' id='{*}'><ping xmlns='urn:xmpp:ping'/></iq>"},
	} {
		t.Run(name, func(t *testing.T) {
			onStage(t, func(s *stage) {
				ended := s.serve(signIn + c.features + c.ask + "\nS: \nS: <message/>\n" + c.ask + "\nEND")
				stream, err := s.open(s.Context(), nil)
				if err != nil {
					s.Fatal(err, <-ended)
				}
				start := time.Now()
				err = stream.Run(func(*xmltree.Element) {}, nil)
				if d := time.Since(start); !errors.Is(err, ErrSilent) || d != 2*4*time.Minute+30*time.Second {
					s.Errorf("%v after %v", err, d)
				}
				var timeout net.Error
				if !errors.As(err, &timeout) || !timeout.Timeout() {
					s.Errorf("%v is no timeout", err)
				}
				if err := <-ended; err != nil {
					s.Error(err)
				}
			})
		})
	}
}

// A stanza that is left out is told of and counts: else the server would send it again at each resumption.
func TestSkip(t *testing.T) {
	onStage(t, func(s *stage) {
		s.cfg.MaxSize = 2000
		ended := s.serve(signIn + managedFeatures + bindBalcony + enable + `
S: <iq type='get' id='big' from='a@example.net/x'><q xmlns='x'>` + strings.Repeat("x", 3000) + `</q></iq>
S: <message id='lol'><!DOCTYPE a [<!ENTITY lol 'lol'>]></message><message id='nonsense'><a></b></message>
S: <message id='good'/><r xmlns='urn:xmpp:sm:3'/>
C: <a xmlns='urn:xmpp:sm:3' h='4'/>
CUT`)
		stream, err := s.open(s.Context(), nil)
		if err != nil {
			s.Fatal(err, <-ended)
		}
		var got []string
		stream.Run(func(e *xmltree.Element) { got = append(got, e.Get("id")) }, func(k Skip) { got = append(got, "-"+k.Local+"-"+k.ID+k.From+k.Type) })
		if want := "-iq-biga@example.net/xget -message-lol -message-nonsense good"; strings.Join(got, " ") != want {
			s.Errorf("got %q", got)
		}
		if err := <-ended; err != nil {
			s.Error(err)
		}
	})
}

func TestHandledTooHigh(t *testing.T) {
	onStage(t, func(s *stage) {
		ended := s.serve(signIn + managedFeatures + bindBalcony + enable + `
S: <a xmlns='urn:xmpp:sm:3' h='1'/>
C: <stream:error><undefined-condition xmlns='urn:ietf:params:xml:ns:xmpp-streams'/><handled-count-too-high any='' xmlns='urn:xmpp:sm:3'/></stream:error>
END`)
		stream, err := s.open(s.Context(), nil)
		if err != nil {
			s.Fatal(err, <-ended)
		}
		var bad *errAck
		if err := stream.Run(nil, nil); !errors.As(err, &bad) {
			s.Errorf("got %v", err)
		}
		if err := <-ended; err != nil {
			s.Error(err)
		}
	})
}

func TestCounterWraps(t *testing.T) {
	c := counter{out: 1<<32 - 2, acked: 1<<32 - 2}
	for range 4 {
		c.send(newSent([]byte("x")))
	}
	if done, err := c.ack(1); err != nil || len(done) != 3 || c.bytes != 1 {
		t.Errorf("%d, %v, %d bytes", len(done), err, c.bytes)
	}
	for _, h := range []uint32{3, 0, 1<<32 - 1} {
		if done, err := c.ack(h); err == nil {
			t.Errorf("h=%d settles %d", h, len(done))
		}
	}
	if done, err := c.ack(2); err != nil || len(done) != 1 || c.queue != nil {
		t.Errorf("%d, %v", len(done), err)
	}
}
