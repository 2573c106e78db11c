package siptest

import (
	"context"
	"math/rand/v2"
	"net"
	"sync"
)

// loss loses a share of the packets of the lab's media, both ways. The
// randomness is the same in every run.
type loss struct {
	mu    sync.Mutex
	share float64
	rnd   *rand.Rand
	lost  int
}

// SetLoss makes the share of the media packets of service numbers vanish in
// each direction, from 0 (none, the start) to 1 (all). Media of calls between
// users do not pass through the lab.
func (s *Server) SetLoss(share float64) {
	s.loss.mu.Lock()
	defer s.loss.mu.Unlock()
	s.loss.share = min(max(share, 0), 1)
}

// Lost is how many media packets SetLoss has cost so far.
func (s *Server) Lost() int {
	s.loss.mu.Lock()
	defer s.loss.mu.Unlock()
	return s.loss.lost
}

func (l *loss) hit() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.share == 0 {
		return false
	}
	if l.rnd == nil {
		l.rnd = rand.New(rand.NewPCG(1, 2))
	}
	hit := l.rnd.Float64() < l.share
	if hit {
		l.lost++
	}
	return hit
}

func (l *loss) listen(listen listenPacketFunc) listenPacketFunc {
	if listen == nil {
		listen = new(net.ListenConfig).ListenPacket
	}
	return func(ctx context.Context, network, addr string) (net.PacketConn, error) {
		pc, err := listen(ctx, network, addr)
		if err != nil {
			return nil, err
		}
		return &lossyConn{pc, l}, nil
	}
}

type lossyConn struct {
	net.PacketConn
	l *loss
}

func (c *lossyConn) ReadFrom(b []byte) (int, net.Addr, error) {
	for {
		n, from, err := c.PacketConn.ReadFrom(b)
		if err != nil || !c.l.hit() {
			return n, from, err
		}
	}
}

func (c *lossyConn) WriteTo(b []byte, to net.Addr) (int, error) {
	if c.l.hit() {
		return len(b), nil
	}
	return c.PacketConn.WriteTo(b, to)
}
