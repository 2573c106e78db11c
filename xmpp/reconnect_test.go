package xmpp

import (
	"errors"
	"net"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hoorn-phone/hoorn/internal/memnet"
	"github.com/hoorn-phone/hoorn/xmpp/xmltree"
	"github.com/hoorn-phone/hoorn/xmpp/xmpptest"
)

// elsewhere is another host of the server.
func (s *stage) elsewhere(addr string) (*memnet.Host, net.Listener) {
	s.Helper()
	h := s.net.Host(addr)
	l, err := h.Listen(s.Context(), "tcp", ":5222")
	if err != nil {
		s.Fatal(err)
	}
	return h, l
}

func (s *stage) acceptOn(l net.Listener) *script {
	s.Helper()
	conn, err := l.Accept()
	if err != nil {
		s.Fatal(err)
	}
	p := xmpptest.NewPeer(conn)
	p.TLS = s.tls
	return &script{s, p}
}

const seeOther = `S: <stream:error><see-other-host xmlns='urn:ietf:params:xml:ns:xmpp-streams'>10.0.0.3:5222</see-other-host></stream:error></stream:stream>
END`

const again = `
C: <resume xmlns='urn:xmpp:sm:3' previd='sm-1' h='{*}'/>
S: <resumed xmlns='urn:xmpp:sm:3' previd='sm-1' h='{h}'/>
`

// RFC 6120 §4.9.3.19: a server that sends us elsewhere in the middle of a stream is obeyed at once, three times in a row.
// After that the client waits and asks DNS again.
func TestSeeOtherHost(t *testing.T) {
	onStage(t, func(s *stage) {
		_, other := s.elsewhere("10.0.0.3")
		defer other.Close()
		c, server := s.online(nil)
		start := time.Now()
		server.play(seeOther)
		server.peer.Close()
		for i := range 3 {
			server = s.acceptOn(other)
			server.peer.Vars["h"] = "2"
			server.play(login + again)
			if d := time.Since(start); d != 0 {
				s.Errorf("redirection %d is followed after %v", i+1, d)
			}
			server.play(seeOther)
			server.peer.Close()
		}
		server = s.accept() // by DNS
		if d := time.Since(start); d < time.Second/2 || d > time.Second {
			s.Errorf("after three redirections: %v", d)
		}
		server.peer.Vars["h"] = "2"
		server.play(login + again)
		synctest.Wait()
		time.AfterFunc(2*settled, func() { server.play(seeOther); server.peer.Close() })
		again := s.acceptOn(other)
		if d := time.Since(start); d < 2*settled || d > 2*settled+time.Second {
			s.Errorf("a later one is followed after %v", d)
		}
		again.peer.Vars["h"] = "2"
		again.play(login + "\nC: <resume any='' xmlns='urn:xmpp:sm:3'/>\nS: <resumed xmlns='urn:xmpp:sm:3' previd='sm-1' h='2'/>")
		s.end(c, again)
	})
}

// The host that a redirection names has to show the account's certificate, like any other (RFC 6120 §13.7.2.1).
func TestSeeOtherHostIsVerified(t *testing.T) {
	onStage(t, func(s *stage) {
		_, other := s.elsewhere("10.0.0.3")
		defer other.Close()
		c, server := s.online(nil)
		server.play(seeOther)
		server.peer.Close()
		liar := s.acceptOn(other)
		liar.play(`
C: <stream:stream to='im.example.com' version='1.0'>
S: <stream:stream from='im.example.com' id='1' version='1.0'>
S: <stream:features><mechanisms xmlns='urn:ietf:params:xml:ns:xmpp-sasl'><mechanism>PLAIN</mechanism></mechanisms></stream:features>
END`)
		liar.peer.Close()
		server = s.accept()
		server.peer.Vars["h"] = "2"
		server.play(login + again)
		s.end(c, server)
	})
}

// XEP-0198 §5: the session is resumed where the server wants it, and at the usual place if nobody is there.
func TestLocation(t *testing.T) {
	onStage(t, func(s *stage) {
		_, other := s.elsewhere("10.0.0.3")
		c, err := New(&s.cfg)
		if err != nil {
			s.Fatal(err)
		}
		connected := make(chan error, 1)
		go func() { connected <- c.Connect(s.Context()) }()
		server := s.accept()
		server.play(login + strings.Replace(bind, "max='300'", "max='300' location='10.0.0.3:5222'", 1) + roster)
		if err := <-connected; err != nil {
			s.Fatal(err)
		}
		server.play("CUT")
		server = s.acceptOn(other)
		server.peer.Vars["h"] = "2"
		server.play(login + again)
		other.Close()
		server.play("CUT")
		server = s.accept()
		server.peer.Vars["h"] = "2"
		server.play(login + again)
		s.end(c, server)
	})
}

// XEP-0352 §4: the state is told once, and again on a new stream, a resumed one too.
func TestSetActive(t *testing.T) {
	onStage(t, func(s *stage) {
		features := strings.Replace(login, "<bind ", "<csi xmlns='urn:xmpp:csi:0'/><bind ", 1)
		c, err := New(&s.cfg)
		if err != nil {
			s.Fatal(err)
		}
		if err := c.SetActive(s.Context(), false); err != nil { // before there is a stream
			s.Error(err)
		}
		connected := make(chan error, 1)
		go func() { connected <- c.Connect(s.Context()) }()
		server := s.accept()
		server.play(features + bind + "C: <inactive xmlns='urn:xmpp:csi:0'/>" + roster)
		if err := <-connected; err != nil {
			s.Fatal(err)
		}
		set := func(active bool) {
			if err := c.SetActive(s.Context(), active); err != nil {
				s.Error(err)
			}
		}
		set(true)
		set(true)
		set(false)
		server.play("C: <active xmlns='urn:xmpp:csi:0'/>\nC: <inactive xmlns='urn:xmpp:csi:0'/>\nCUT")
		server = s.accept()
		server.peer.Vars["h"] = "2"
		server.play(features + again + "C: <inactive xmlns='urn:xmpp:csi:0'/>")
		set(true)
		server.play("C: <active xmlns='urn:xmpp:csi:0'/>\nCUT")
		server = s.accept()
		server.peer.Vars["h"] = "2"
		server.play(features + again)
		s.end(c, server)
		if err := c.SetActive(s.Context(), true); err != ErrClosed {
			s.Errorf("when closed: %v", err)
		}
	})
}

// XEP-0478 §3: what is longer than the server takes is not sent, and the sender is told.
func TestLimits(t *testing.T) {
	onStage(t, func(s *stage) {
		features := strings.Replace(login, "<bind ", "<limits xmlns='urn:xmpp:stream-limits:0'><max-bytes>10000</max-bytes><idle-seconds>60</idle-seconds></limits><bind ", 1)
		c, err := New(&s.cfg)
		if err != nil {
			s.Fatal(err)
		}
		connected := make(chan error, 1)
		go func() { connected <- c.Connect(s.Context()) }()
		server := s.accept()
		server.play(features + bind + roster)
		if err := <-connected; err != nil {
			s.Fatal(err)
		}
		var size *SizeError
		if _, err := c.Send(s.Context(), body(strings.Repeat("x", 10000))); !errors.As(err, &size) || size.Max != 10000 || size.Size <= 10000 {
			s.Errorf("got %v", err)
		}
		if _, err := c.Set(s.Context(), c.Account(), xmltree.NewText("x", "x", strings.Repeat("x", 10000))); !errors.As(err, &size) {
			s.Errorf("got %v", err)
		}
		start := time.Now()
		for range 3 {
			server.play("C: <r xmlns='urn:xmpp:sm:3'/>\nS: <a xmlns='urn:xmpp:sm:3' h='2'/>")
		}
		if d := time.Since(start); d != 3*45*time.Second {
			s.Errorf("three signs of life in %v", d)
		}
		s.end(c, server)
	})
}
