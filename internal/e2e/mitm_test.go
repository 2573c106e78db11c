package e2e_test

import (
	"bytes"
	"context"
	"crypto/tls"
	"io"
	"net"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	sipgo "github.com/emiago/sipgo/sip"

	"github.com/hoorn-phone/hoorn/internal/memnet"
	"github.com/hoorn-phone/hoorn/internal/sipwire"
	"github.com/hoorn-phone/hoorn/internal/testca"
	"github.com/hoorn-phone/hoorn/sip"
)

// man is a man in the middle whom phones take for the lab: a proxy on the way
// that has a certificate for the domain, reads along, and changes what it
// likes.
type man struct {
	w    *world
	host *memnet.Host
	ca   *testca.CA

	mu     sync.Mutex
	change func(toPhone bool, m sipgo.Message)
}

const manAddr = "10.0.0.66"

func newMan(t *testing.T, w *world) *man {
	t.Helper()
	ca, err := testca.NewCA(time.Now())
	must(t, err)
	cert, err := ca.Issue(testca.Template{URIs: []string{"sip:" + w.Domain()}})
	must(t, err)
	m := &man{w: w, host: w.net.Host(manAddr), ca: ca}
	l, err := m.host.Listen(t.Context(), "tcp", ":5061")
	must(t, err)
	l = tls.NewListener(l, &tls.Config{Certificates: []tls.Certificate{cert}})
	ctx, cancel := context.WithCancel(context.Background())
	var wg sync.WaitGroup
	wg.Go(func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			wg.Go(func() { m.serve(ctx, c) })
		}
	})
	t.Cleanup(func() {
		cancel()
		l.Close()
		wg.Wait()
	})
	return m
}

// between makes a phone go through the man.
func (m *man) between(c *sip.Config) {
	c.Account.Proxy = "sip:" + manAddr + ":5061;transport=tls"
	c.TLS = &sip.TLSConfig{RootCAs: m.ca.Pool()}
}

// tamper makes the man change every message from now on; nil is none.
func (m *man) tamper(change func(toPhone bool, m sipgo.Message)) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.change = change
}

// serve relays between a phone and the lab until either closes.
func (m *man) serve(ctx context.Context, phone net.Conn) {
	defer phone.Close()
	conn, err := m.host.Dial(ctx, "tcp", m.w.Addr(sip.TLS).String())
	if err != nil {
		return
	}
	lab := tls.Client(conn, &tls.Config{RootCAs: m.w.CA(), ServerName: m.w.Domain()})
	defer lab.Close()
	stop := context.AfterFunc(ctx, func() { phone.Close(); lab.Close() })
	defer stop()
	done := make(chan struct{})
	go func() {
		defer close(done)
		m.relay(phone, lab, true)
		phone.Close()
	}()
	m.relay(lab, phone, false)
	lab.Close()
	<-done
}

func (m *man) relay(to io.Writer, from io.Reader, toPhone bool) {
	var f sipwire.Framer
	buf := make([]byte, 4096)
	for {
		n, err := from.Read(buf)
		if err != nil {
			return
		}
		_, _ = f.Write(buf[:n])
		for {
			frame, err := f.Next()
			if err != nil || frame.Kind == sipwire.NoFrame {
				break
			}
			out := []byte("\r\n") // half of a ping, or a pong
			if frame.Kind == sipwire.Message {
				msg, err := sipwire.Parse(bytes.Clone(frame.Data), true)
				if err != nil {
					panic(err)
				}
				m.mu.Lock()
				if m.change != nil {
					m.change(toPhone, msg)
				}
				m.mu.Unlock()
				out = sipwire.Append(nil, msg)
			}
			if _, err := to.Write(out); err != nil {
				return
			}
		}
	}
}

// isOffer and isAnswer tell what the description in a message of an INVITE
// transaction is, where the caller offers.
func isOffer(m sipgo.Message) bool {
	req, ok := m.(*sipgo.Request)
	return ok && req.Method == sipgo.INVITE && len(m.Body()) > 0
}

func isAnswer(m sipgo.Message) bool {
	r, ok := m.(*sipgo.Response)
	return ok && r.CSeq().MethodName == sipgo.INVITE && len(m.Body()) > 0
}

// edit changes the session description of a message.
func edit(m sipgo.Message, f func(sdp string) string) { m.SetBody([]byte(f(string(m.Body())))) }

var cryptoLines = regexp.MustCompile(`a=crypto:[^\r\n]*\r\n`)

// Ways to take the encryption out of a description.
func stripKeys(sdp string) string    { return cryptoLines.ReplaceAllString(sdp, "") }
func plainProfile(sdp string) string { return strings.Replace(sdp, " RTP/SAVP ", " RTP/AVP ", 1) }
func plain(sdp string) string        { return stripKeys(plainProfile(sdp)) }
