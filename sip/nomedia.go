package sip

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net/netip"
	"strings"

	"github.com/hoorn-phone/hoorn/sip/offeranswer"
)

// NoMedia makes calls without sound: every description has one audio stream,
// inactive. It is for programs that only signal, and for tests.
func NoMedia(_ context.Context, env offeranswer.Env) (offeranswer.Media, error) {
	return &noMedia{local: env.Local}, nil
}

type noMedia struct{ local netip.Addr }

func (m *noMedia) Offer(context.Context, offeranswer.Options) ([]byte, error) {
	return describe(m.local, "m=audio 9 RTP/AVP 0\r\na=inactive\r\n"), nil
}

func (m *noMedia) Leg(string) (offeranswer.Leg, error)              { return &noLeg{local: m.local}, nil }
func (m *noMedia) Select(offeranswer.Leg) error                     { return nil }
func (m *noMedia) Rebind(_ context.Context, local netip.Addr) error { m.local = local; return nil }
func (m *noMedia) Close() error                                     { return nil }

type noLeg struct {
	local   netip.Addr
	sdp     []byte
	streams []offeranswer.Stream
}

func (l *noLeg) Offer(context.Context, offeranswer.Options) ([]byte, error) {
	return describe(l.local, "m=audio 9 RTP/AVP 0\r\na=inactive\r\n"), nil
}

// Answer refuses every stream but the first of audio, which it makes inactive
// (RFC 3264 §6: as many m= lines as the offer has, in its order).
func (l *noLeg) Answer(_ context.Context, offer []byte, _ offeranswer.Options) ([]byte, error) {
	var b strings.Builder
	audio := false
	l.streams = nil
	for line := range bytes.Lines(offer) {
		media, ok := strings.CutPrefix(strings.TrimSpace(string(line)), "m=")
		if !ok {
			continue
		}
		f := strings.Fields(media)
		if len(f) < 4 || len(l.streams) == 64 {
			return nil, errors.New("sip: the offer is no session description")
		}
		stream := offeranswer.Stream{Kind: offeranswer.Kind(f[0]), Local: offeranswer.Inactive, Remote: offeranswer.Inactive}
		if f[0] == "audio" && !audio && f[1] != "0" && f[2] == "RTP/AVP" {
			audio = true
			fmt.Fprintf(&b, "m=audio 9 %s %s\r\na=inactive\r\n", f[2], f[3])
		} else {
			stream.Disabled = true
			fmt.Fprintf(&b, "m=%s 0 %s %s\r\n", f[0], f[2], strings.Join(f[3:], " "))
		}
		l.streams = append(l.streams, stream)
	}
	l.sdp = describe(l.local, b.String())
	return l.sdp, nil
}

func (l *noLeg) SetAnswer(context.Context, []byte, bool) error {
	l.streams = []offeranswer.Stream{{Kind: offeranswer.Audio, Local: offeranswer.Inactive, Remote: offeranswer.Inactive}}
	return nil
}

func (l *noLeg) Commit() error                 { return nil }
func (l *noLeg) Rollback() error               { return nil }
func (l *noLeg) Local() []byte                 { return l.sdp }
func (l *noLeg) Streams() []offeranswer.Stream { return l.streams }
func (l *noLeg) Close() error                  { return nil }

func describe(local netip.Addr, media string) []byte {
	kind, addr := "IP4", "0.0.0.0"
	if local.IsValid() {
		addr = local.Unmap().WithZone("").String()
		if local.Unmap().Is6() {
			kind = "IP6"
		}
	}
	return fmt.Appendf(nil, "v=0\r\no=- 1 1 IN %s %s\r\ns=-\r\nc=IN %s %s\r\nt=0 0\r\n%s", kind, addr, kind, addr, media)
}
