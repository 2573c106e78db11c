package transport

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"time"
)

// Listen accepts connections on an address, or for UDP opens a socket, and
// returns the address it got.
func (t *Transport) Listen(ctx context.Context, p Proto, addr string) (net.Addr, error) {
	switch p {
	case UDP:
		s, err := t.UDP(ctx, addr)
		if err != nil {
			return nil, err
		}
		return s.pc.LocalAddr(), nil
	case TCP, TLS, WS, WSS:
	default:
		return nil, fmt.Errorf("transport: unknown protocol %q", p)
	}
	if p.Secure() && t.cfg.TLS == nil {
		return nil, errors.New("transport: no TLS configuration to listen with")
	}
	l, err := t.cfg.Listen(ctx, "tcp", addr)
	if err != nil {
		return nil, err
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.closed {
		l.Close()
		return nil, ErrClosed
	}
	t.listens[l] = struct{}{}
	t.wg.Go(func() { t.accept(l, p) })
	return l.Addr(), nil
}

// accept is the goroutine of a listener.
func (t *Transport) accept(l net.Listener, p Proto) {
	pause := time.Duration(0)
	for {
		conn, err := l.Accept()
		switch {
		case err == nil:
			pause = 0
			t.admit(conn, p)
		case t.ctx.Err() != nil || isNetClosed(err):
			return
		default: // the system has run out of something
			pause = min(max(2*pause, 5*time.Millisecond), time.Second)
			t.log.Warn("cannot accept connections", "address", l.Addr(), "error", err, "pause", pause)
			select {
			case <-time.After(pause):
			case <-t.ctx.Done():
				return
			}
		}
	}
}

// admit starts the goroutine of an accepted connection, which first does the
// handshakes and then reads.
func (t *Transport) admit(conn net.Conn, p Proto) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.closed || t.accepted >= t.cfg.MaxConns {
		t.log.Debug("refused a connection", "from", conn.RemoteAddr(), "connections", t.accepted)
		conn.Close()
		return
	}
	t.accepted++
	t.pending[conn] = struct{}{}
	t.wg.Go(func() {
		l, err := t.greet(conn, p)
		f := &Flow{t: t, proto: p, remote: addrPort(conn.RemoteAddr()), link: l, accepted: true}
		t.mu.Lock()
		delete(t.pending, conn)
		if err != nil || t.closed {
			t.accepted--
			t.mu.Unlock()
			conn.Close()
			if err != nil {
				t.log.Debug("handshake failed", "from", conn.RemoteAddr(), "protocol", p, "error", err)
			}
			return
		}
		f.local = l.local()
		t.flows[f] = struct{}{}
		t.mu.Unlock()
		t.h.Accepted(f)
		f.run()
	})
}

// greet does the server's side of the handshakes.
func (t *Transport) greet(raw net.Conn, p Proto) (link, error) {
	deadline := time.Now().Add(t.cfg.HandshakeTimeout)
	if err := raw.SetDeadline(deadline); err != nil {
		return nil, err
	}
	conn := raw
	if p.Secure() {
		c := tls.Server(raw, t.cfg.TLS)
		if err := c.HandshakeContext(t.ctx); err != nil {
			return nil, err
		}
		conn = c
	}
	var l link
	if p == WS || p == WSS {
		w, err := acceptWS(t, conn, raw)
		if err != nil {
			return nil, err
		}
		w.idle = t.cfg.IdleTimeout
		l = w
	} else {
		s := newStreamLink(t, conn, raw)
		s.idle = t.cfg.IdleTimeout
		l = s
	}
	return l, raw.SetDeadline(time.Time{})
}
