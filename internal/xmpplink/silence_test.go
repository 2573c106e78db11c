package xmpplink

import (
	"context"
	"errors"
	"net"
	"testing"
	"time"

	"github.com/hoorn-phone/hoorn/internal/xmppdial"
	"github.com/hoorn-phone/hoorn/internal/xmpplink/linktest"
)

// muted is a connection that falls silent: what is written beyond some bytes never leaves.
type muted struct {
	net.Conn
	left, wrote int
}

func (m *muted) Write(b []byte) (int, error) {
	m.wrote += len(b)
	if n := min(len(b), m.left); n > 0 {
		m.left -= n
		if _, err := m.Conn.Write(b[:n]); err != nil {
			return 0, err
		}
	}
	return len(b), nil
}

// Wherever a server falls silent while a stream is negotiated, the end of the context ends the wait to the instant, and the
// error names the stage. Every byte of what the server says in clear text or under TLS is such a place; the steps keep the test short.
func TestSilence(t *testing.T) {
	for _, c := range []struct {
		name          string
		sasl2, direct bool
		resume        bool
		step          int
		stages        []Stage // all that are met
	}{
		{"STARTTLS, SASL, bind", false, false, false, 37, []Stage{StageOpen, StageTLS, StageAuth, StageBind}},
		{"direct TLS, SASL, resume", false, true, true, 29, []Stage{StageTLS, StageOpen, StageAuth, StageBind}},
		{"direct TLS, SASL2", true, true, false, 29, []Stage{StageTLS, StageOpen, StageAuth}},
		{"direct TLS, SASL2, resume", true, true, true, 29, []Stage{StageTLS, StageOpen, StageAuth}},
	} {
		t.Run(c.name, func(t *testing.T) {
			onServer(t, func(s *stage, server *linktest.Server) {
				server.SASL2, server.Direct, server.Mechanisms = c.sasl2, c.direct, []string{"PLAIN"}
				s.cfg.Policy.AllowPlain = true
				l, err := s.server.Listen(s.Context(), "tcp", ":5224")
				if err != nil {
					s.Fatal(err)
				}
				defer l.Close()
				// open tries with a server that says so many bytes.
				open := func(ctx context.Context, bytes int, session *Session) (*Stream, *muted, error) {
					near, err := s.client.Dial(ctx, "tcp", "10.0.0.2:5224")
					if err != nil {
						s.Fatal(err)
					}
					far, err := l.Accept()
					if err != nil {
						s.Fatal(err)
					}
					m := &muted{Conn: far, left: bytes}
					done := make(chan struct{})
					go func() { defer close(done); server.ServeConn(m) }()
					stream, err := s.cfg.Open(ctx, &Conn{Net: near, Target: xmppdial.Target{Domain: "im.example.com", Direct: c.direct}}, session)
					if err != nil {
						<-done
					}
					return stream, m, err
				}
				session := func() *Session { return nil }
				if c.resume {
					stream, _, err := open(s.Context(), 1<<20, nil)
					if err != nil {
						s.Fatal(err)
					}
					time.AfterFunc(time.Second, func() { stream.Cut(errors.New("cut")) })
					stream.Run(nil, nil)
					first := stream.Session()
					session = func() *Session { return &Session{JID: first.JID, managed: true, id: first.id} }
				}
				stream, m, err := open(s.Context(), 1<<20, session())
				if err != nil || stream.Resumed != c.resume {
					s.Fatal(stream, err)
				}
				stream.Cut(errors.New("cut"))
				total := m.wrote
				met := map[Stage]int{}
				for n := 0; n < total; n += c.step {
					const patience = 10 * time.Second
					ctx, cancel := context.WithTimeout(s.Context(), patience)
					start := time.Now()
					stream, _, err := open(ctx, n, session())
					took := time.Since(start)
					cancel()
					var e *Error
					switch {
					case err == nil && n > total-250: // what is not waited for: features or <enabled/>
						stream.Cut(errors.New("cut"))
					case !errors.As(err, &e) || !errors.Is(err, context.DeadlineExceeded) || took != patience:
						s.Fatalf("after %d of %d bytes: %v after %v", n, total, err, took)
					default:
						met[e.Stage]++
					}
				}
				if len(met) != len(c.stages) {
					s.Errorf("stages %v", met)
				}
				for _, stage := range c.stages {
					if met[stage] == 0 {
						s.Errorf("nothing in stage %s: %v", stage, met)
					}
				}
			})
		})
	}
}
