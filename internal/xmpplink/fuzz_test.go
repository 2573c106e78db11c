package xmpplink

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"os"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"mellium.im/xmpp/jid"

	"github.com/hoorn-phone/hoorn/internal/sasl"
	"github.com/hoorn-phone/hoorn/internal/xmppdial"
	"github.com/hoorn-phone/hoorn/internal/xmppstream"
	"github.com/hoorn-phone/hoorn/xmpp/xmltree"
)

// monologue is a connection to somebody who speaks and does not listen. Then he is silent, or hangs up.
type monologue struct {
	net.Conn
	words  *bytes.Reader
	silent bool
	once   sync.Once
	over   chan struct{}
}

func (m *monologue) Read(b []byte) (int, error) {
	select {
	case <-m.over:
		return 0, os.ErrDeadlineExceeded
	default:
	}
	if n, err := m.words.Read(b); err == nil {
		return n, nil
	}
	if m.silent {
		<-m.over
		return 0, os.ErrDeadlineExceeded
	}
	return 0, io.EOF
}

func (m *monologue) Write(b []byte) (int, error) { return len(b), nil }
func (m *monologue) Close() error                { m.once.Do(func() { close(m.over) }); return nil }

func (m *monologue) SetDeadline(t time.Time) error {
	if !t.IsZero() && !t.After(time.Now()) {
		m.Close()
	}
	return nil
}
func (m *monologue) SetReadDeadline(t time.Time) error  { return m.SetDeadline(t) }
func (m *monologue) SetWriteDeadline(t time.Time) error { return m.SetDeadline(t) }

// asIfSecure is a TCP transport that says it has TLS, so that what comes behind TLS can be given as it is.
type asIfSecure struct{ *tcp }

func (asIfSecure) tls() *tls.ConnectionState { return new(tls.ConnectionState) }

// words are what a server says in a script.
func words(script string) []byte {
	var b strings.Builder
	for l := range strings.Lines(script) {
		if xml, ok := strings.CutPrefix(strings.TrimSpace(l), "S:"); ok {
			xml = strings.Replace(xml, "<stream:stream ", "<stream:stream xmlns='jabber:client' xmlns:stream='http://etherx.jabber.org/streams' ", 1)
			b.WriteString(strings.ReplaceAll(xml, "{id}", bindID))
		} else if l[0] == ' ' {
			b.WriteString(strings.TrimSpace(l))
		}
	}
	return []byte(b.String())
}

// FuzzNegotiate lets a server say anything, before TLS and under it, to a client with a new session and to one with an old one: it ends as a stream or as an *Error, when the
// context ends at the latest, and a stream that came of it ends too.
func FuzzNegotiate(f *testing.F) {
	_, behind, _ := strings.Cut(signIn, "TLS\n")
	f.Add(true, false, true, words(behind+managedFeatures+bindBalcony+enable+"S: <message><body>1</body></message><a xmlns='urn:xmpp:sm:3' h='9'/>"))
	f.Add(true, true, false, words(behind+managedFeatures+"S: <resumed xmlns='urn:xmpp:sm:3' h='1' previd='old'/><r xmlns='urn:xmpp:sm:3'/></stream:stream>"))
	f.Add(true, true, false, words(behind+managedFeatures+"S: <failed xmlns='urn:xmpp:sm:3' h='5'/>"+bindBalcony))
	_, behind, _ = strings.Cut(secured, "TLS\n")
	f.Add(true, false, false, words(behind+offer2+welcome))
	f.Add(true, true, false, words(behind+offer2+welcome))
	f.Add(true, false, true, words(behind+offer2+"S: <continue xmlns='urn:xmpp:sasl:2'><tasks><task>X</task></tasks></continue>"))
	f.Add(true, false, false, words(strings.Replace(behind+offer2, "PLAIN", "SCRAM-SHA-256", 1)+"S: <challenge xmlns='urn:xmpp:sasl:2'>cj14LHM9eCxpPTQwOTY=</challenge>"))
	f.Add(false, false, true, words(signIn))
	f.Add(false, false, false, words("S: <stream:stream version='1.0'><stream:error><see-other-host xmlns='urn:ietf:params:xml:ns:xmpp-streams'>x</see-other-host></stream:error>"))
	f.Fuzz(func(t *testing.T, secure, old, silent bool, data []byte) {
		synctest.Test(t, func(t *testing.T) {
			conn := &monologue{words: bytes.NewReader(data), silent: silent, over: make(chan struct{})}
			cfg := &Config{Account: jid.MustParse("juliet@im.example.com"), Resource: "balcony", MaxSize: 1 << 16,
				Credentials: sasl.Credentials{Username: "juliet", Password: "r0m30myr0m30"},
				Policy:      sasl.Policy{AllowPlain: true, MaxIterations: sasl.DefaultMinIterations},
				Agent:       Agent{ID: "d4565fa7-4d72-4749-b3d3-740edbf87770"}, Tokens: new(MemoryTokens), Memory: new(Memory)}
			var session *Session
			if old {
				session = &Session{JID: cfg.Account, managed: true, id: "old", space: xmppstream.NSClient}
				session.count.send(newSent([]byte("<message/>")))
			}
			const patience = 10 * time.Second
			ctx, cancel := context.WithTimeout(t.Context(), patience)
			defer cancel()
			var tr transport = newTCP(conn, xmppstream.NSClient, cfg.MaxSize)
			if secure {
				tr = asIfSecure{tr.(*tcp)}
			}
			start := time.Now()
			s, err := cfg.negotiate(ctx, tr, xmppdial.Target{Domain: "im.example.com"}, session)
			if d := time.Since(start); d > patience {
				t.Errorf("took %v", d)
			}
			if err != nil {
				var e *Error
				if s != nil || !errors.As(err, &e) {
					t.Errorf("%v, %v", s, err)
				}
				return
			}
			time.AfterFunc(patience, func() { s.Cut(ErrClosed) })
			if err := s.Run(func(*xmltree.Element) {}, func(Skip) {}); err == nil {
				t.Error("a stream ended without a reason")
			}
			s.Session().Abandon()
		})
	})
}
