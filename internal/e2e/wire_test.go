package e2e_test

import (
	"math/rand/v2"
	"net/netip"
	"sync"

	"github.com/hoorn-phone/hoorn/internal/memnet"
	"github.com/hoorn-phone/hoorn/media/codec"
	"github.com/hoorn-phone/hoorn/media/g711"
	"github.com/hoorn-phone/hoorn/media/g722"
	"github.com/hoorn-phone/hoorn/media/opus"
)

// wire sees every datagram on the network, as somebody would who listens on
// the way.
type wire struct {
	mu   sync.Mutex
	rtp  map[netip.Addr]*flow // by who sends
	loss float64              // share of the RTP packets that are lost
	rand *rand.Rand
}

// flow is what one host sent.
type flow struct {
	packets int
	lost    int
	bare    int    // of the size of 20 ms of G.711 without encryption
	pcmu    []byte // the payloads of type 0, one after the other
}

func newWire() *wire {
	return &wire{rtp: make(map[netip.Addr]*flow), rand: rand.New(rand.NewPCG(3, 4))}
}

// path is an impairment of the network under which everything is still seen.
func (w *world) path(i memnet.Impairment) memnet.Impairment {
	i.Drop = w.wire.see
	return i
}

// see takes notice of a datagram, and tells whether it is lost.
func (w *wire) see(from, _ netip.AddrPort, b []byte) bool {
	// RTP has version 2 and a payload type outside of RTCP's (RFC 5761 §4);
	// neither SIP nor STUN begins like that.
	if len(b) < 12 || b[0]>>6 != 2 || b[1]&0x7f >= 64 && b[1]&0x7f < 96 {
		return false
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	f := w.rtp[from.Addr()]
	if f == nil {
		f = &flow{}
		w.rtp[from.Addr()] = f
	}
	f.packets++
	if len(b) == 12+160 {
		f.bare++
	}
	if b[1]&0x7f == 0 && b[0] == 0x80 {
		f.pcmu = append(f.pcmu, b[12:]...)
	}
	if w.loss > 0 && w.rand.Float64() < w.loss {
		f.lost++
		return true
	}
	return false
}

// lose loses this share of the RTP packets, and only these, from now on.
func (w *wire) lose(share float64) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.loss = share
}

// lost is how many RTP or SRTP packets of a host were lost by lose.
func (w *wire) lost(a netip.Addr) int {
	w.mu.Lock()
	defer w.mu.Unlock()
	if f := w.rtp[a]; f != nil {
		return f.lost
	}
	return 0
}

// count is how many RTP or SRTP packets a host has sent.
func (w *wire) count(a netip.Addr) int {
	w.mu.Lock()
	defer w.mu.Unlock()
	if f := w.rtp[a]; f != nil {
		return f.packets
	}
	return 0
}

// bare is how many packets a host has sent that have no room for anything but
// 20 ms of G.711 in the clear.
func (w *wire) bare(a netip.Addr) int {
	w.mu.Lock()
	defer w.mu.Unlock()
	if f := w.rtp[a]; f != nil {
		return f.bare
	}
	return 0
}

// total is how many RTP or SRTP packets were sent.
func (w *wire) total() (n int) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, f := range w.rtp {
		n += f.packets
	}
	return n
}

// tapped is what somebody hears, at 8 kHz, who takes all packets of a host
// for PCMU in the clear.
func (w *wire) tapped(a netip.Addr) []int16 {
	w.mu.Lock()
	defer w.mu.Unlock()
	f := w.rtp[a]
	if f == nil {
		return nil
	}
	return g711.DecodeULaw(nil, f.pcmu)
}

var codecs = []codec.Codec{opus.Opus(), g722.G722(), g711.PCMU(), g711.PCMA()}
