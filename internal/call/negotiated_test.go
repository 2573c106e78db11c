package call

import (
	"context"
	"math/rand/v2"
	"net/netip"
	"strings"
	"testing"

	"github.com/hoorn-phone/hoorn/internal/negotiate"
	"github.com/hoorn-phone/hoorn/media/codec"
	"github.com/hoorn-phone/hoorn/media/g711"
	"github.com/hoorn-phone/hoorn/sip/offeranswer"
)

// negotiated are media that negotiate as the real ones do, and have no sound.
type negotiated struct {
	t *testing.T
	s *negotiate.Session
	// exchanges are the descriptions made and taken, by their directions:
	// "offer sendonly", "answer recvonly", "rollback".
	log []string
}

func (p *party) negotiate(codecs ...codec.Codec) *negotiated {
	if codecs == nil {
		codecs = []codec.Codec{g711.PCMU(), g711.PCMA()}
	}
	s, err := negotiate.New(negotiate.Config{Codecs: codecs, Policy: negotiate.Off, Rand: rand.NewChaCha8([32]byte{1})})
	if err != nil {
		p.w.t.Fatal(err)
	}
	m := &negotiated{t: p.w.t, s: s}
	p.newMedia = func() (offeranswer.Media, error) { return m, nil }
	return m
}

func at(i int, _ netip.Addr) (negotiate.Transport, error) {
	return negotiate.Transport{RTP: netip.AddrPortFrom(netip.AddrFrom4([4]byte{192, 0, 2, 1}), uint16(4000+2*i))}, nil
}

// directions are those of a description's streams; - is one that is off.
func directions(sdp []byte) string {
	var ds []string
	for line := range strings.Lines(string(sdp)) {
		line = strings.TrimSpace(line)
		f := strings.Fields(line)
		switch {
		case strings.HasPrefix(line, "m=") && len(f) > 1 && f[1] == "0":
			ds = append(ds, "-")
		case strings.HasPrefix(line, "m="):
			ds = append(ds, "sendrecv")
		case len(ds) > 0 && (line == "a=sendonly" || line == "a=recvonly" || line == "a=inactive"):
			ds[len(ds)-1] = line[2:]
		}
	}
	return strings.Join(ds, " ")
}

func (m *negotiated) note(what string, sdp []byte, err error) ([]byte, error) {
	if err != nil {
		what += ": " + err.Error()
	}
	m.log = append(m.log, strings.TrimSpace(what+" "+directions(sdp)))
	return sdp, err
}

func (m *negotiated) Offer(_ context.Context, o offeranswer.Options) ([]byte, error) {
	sdp, err := m.s.Offer(o, at)
	return m.note("offer", sdp, err)
}

func (m *negotiated) Leg(string) (offeranswer.Leg, error)      { return &negotiatedLeg{m.s.Leg(), m}, nil }
func (m *negotiated) Select(offeranswer.Leg) error             { return nil }
func (m *negotiated) Rebind(context.Context, netip.Addr) error { return nil }
func (m *negotiated) Close() error                             { return nil }

type negotiatedLeg struct {
	*negotiate.Leg
	m *negotiated
}

func (l *negotiatedLeg) Offer(_ context.Context, o offeranswer.Options) ([]byte, error) {
	sdp, err := l.Leg.Offer(o, at)
	return l.m.note("offer", sdp, err)
}

func (l *negotiatedLeg) Answer(_ context.Context, offer []byte, o offeranswer.Options) ([]byte, error) {
	sdp, err := l.Leg.Answer(offer, o, at)
	return l.m.note("answer", sdp, err)
}

func (l *negotiatedLeg) SetAnswer(_ context.Context, sdp []byte, provisional bool) error {
	_, err := l.m.note("take", sdp, l.Leg.SetAnswer(sdp, provisional))
	return err
}

func (l *negotiatedLeg) Rollback() error {
	l.Leg.Rollback()
	_, _ = l.m.note("rollback", nil, nil)
	return nil
}

func (l *negotiatedLeg) Close() error { return nil }
