package callpull

import (
	"bytes"
	"fmt"
	"net"
	"net/netip"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	sipgo "github.com/emiago/sipgo/sip"

	"github.com/hoorn-phone/hoorn/internal/locate"
	"github.com/hoorn-phone/hoorn/internal/memnet"
	"github.com/hoorn-phone/hoorn/internal/sipwire"
	"github.com/hoorn-phone/hoorn/sip"
)

// server is the account's server, word for word as its test says.
type server struct {
	t  *testing.T
	ua *sip.UA
	c  net.Conn
	in chan sipgo.Message
	n  int
}

// bubble runs a test in virtual time with alice's user agent and its server.
func bubble(t *testing.T, name string, fn func(t *testing.T, s *server)) {
	t.Run(name, func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			network := memnet.New()
			host, phone := network.Host("10.0.0.2"), network.Host("10.0.0.1")
			l, err := host.Listen(t.Context(), "tcp", "10.0.0.2:5060")
			if err != nil {
				t.Fatal(err)
			}
			s := &server{t: t, in: make(chan sipgo.Message, 64)}
			connected := make(chan struct{})
			go func() {
				defer close(connected)
				s.c, _ = l.Accept()
				l.Close()
				go s.read()
			}()
			s.ua, err = sip.New(&sip.Config{
				Account: sip.Account{AOR: "sip:alice@example.com", Proxy: "sip:example.com;transport=tcp", Instance: "urn:uuid:00000000-0000-1000-8000-000A95A0E128"},
				Network: sip.Network{Dial: phone.Dial, Listen: phone.Listen, ListenPacket: phone.ListenPacket,
					Resolver: &locate.Static{IP: map[string][]netip.Addr{"example.com": {netip.MustParseAddr("10.0.0.2")}}}},
			})
			if err != nil {
				t.Fatal(err)
			}
			fn(t, s)
			<-connected
			s.c.Close()
			if err := s.ua.Close(); err != nil {
				t.Error(err)
			}
		})
	})
}

func (s *server) read() {
	defer close(s.in)
	var f sipwire.Framer
	buf := make([]byte, 4096)
	for {
		n, err := s.c.Read(buf)
		if err != nil {
			return
		}
		_, _ = f.Write(buf[:n])
		for {
			frame, err := f.Next()
			if err != nil || frame.Kind == sipwire.NoFrame {
				break
			}
			if m, err := sipwire.Parse(bytes.Clone(frame.Data), true); err == nil {
				s.in <- m
			}
		}
	}
}

func (s *server) request(method string) *sipgo.Request {
	s.t.Helper()
	select {
	case m := <-s.in:
		if req, ok := m.(*sipgo.Request); ok && string(req.Method) == method {
			return req
		}
		s.t.Fatalf("there comes %v, want %s", m, method)
	case <-time.After(time.Hour):
		s.t.Fatalf("no %s came", method)
	}
	return nil
}

func (s *server) quiet() {
	s.t.Helper()
	select {
	case m := <-s.in:
		s.t.Fatalf("there comes %v", m)
	case <-time.After(10 * time.Second):
	}
}

func (s *server) reply(req *sipgo.Request, status int, body string, lines ...string) {
	res := sipwire.ResponseTo(req, status, "", "server")
	for _, l := range append(lines, "Contact: <sip:10.0.0.2;transport=tcp>") {
		name, value, _ := strings.Cut(l, ": ")
		res.AppendHeader(sipgo.NewHeader(name, value))
	}
	if body != "" {
		res.SetBody([]byte(body))
	}
	_, _ = s.c.Write(sipwire.Append(nil, res))
}

// notify tells a document and waits for 200.
func (s *server) notify(sub *sipgo.Request, body string) {
	s.t.Helper()
	s.n++
	fmt.Fprintf(s.c, "NOTIFY sip:alice@10.0.0.1 SIP/2.0\r\nVia: SIP/2.0/TCP 10.0.0.2;branch=z9hG4bKn%d\r\nFrom: <sip:alice@example.com>;tag=server\r\n"+
		"To: <sip:alice@example.com>;tag=%s\r\nCall-ID: %s\r\nCSeq: %d NOTIFY\r\nMax-Forwards: 9\r\nContact: <sip:10.0.0.2;transport=tcp>\r\nEvent: dialog\r\n"+
		"Subscription-State: active;expires=3600\r\nContent-Type: application/dialog-info+xml\r\nContent-Length: %d\r\n\r\n%s",
		s.n, sipwire.FromTag(sub), sub.CallID().Value(), s.n, len(body), body)
	select {
	case m := <-s.in:
		if r, ok := m.(*sipgo.Response); !ok || r.StatusCode != 200 {
			s.t.Fatalf("the answer to the NOTIFY: %v", m)
		}
	case <-time.After(time.Minute):
		s.t.Fatal("no answer to the NOTIFY")
	}
	synctest.Wait()
}

const info = `<dialog-info xmlns="urn:ietf:params:xml:ns:dialog-info" entity="sip:alice@example.com" `

// desk is a call of the desk phone's.
const desk = `<dialog id="d1" call-id="c1" local-tag="desks" remote-tag="bobs" direction="recipient"><state>confirmed</state><duration>60</duration>
<local><target uri="sip:alice@example.com;gr=urn:uuid:desk"><param pname="+sip.rendering" pval="no"/></target></local>
<remote><identity display="Bob">sip:bob@example.com</identity><target uri="sip:bob@192.0.2.7"/></remote></dialog>`

// watch brings up a watcher that has been told a document.
func (s *server) watch(cfg *Config, doc string) (*Watcher, *sipgo.Request) {
	s.t.Helper()
	type outcome struct {
		w   *Watcher
		err error
	}
	ch := make(chan outcome, 1)
	go func() {
		w, err := Watch(s.t.Context(), s.ua, cfg)
		ch <- outcome{w, err}
	}()
	var req *sipgo.Request
	select {
	case m := <-s.in:
		req = m.(*sipgo.Request)
	case <-time.After(time.Hour):
		s.t.Fatal("no SUBSCRIBE")
	}
	s.reply(req, 200, "", "Expires: 3600")
	s.notify(req, doc)
	o := <-ch
	if o.err != nil {
		s.t.Fatal(o.err)
	}
	synctest.Wait()
	return o.w, req
}
