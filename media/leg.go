package media

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"time"

	"github.com/hoorn-phone/hoorn/internal/negotiate"
	"github.com/hoorn-phone/hoorn/internal/sdes"
	"github.com/hoorn-phone/hoorn/internal/srtpctx"
	"github.com/hoorn-phone/hoorn/sip/offeranswer"
)

const (
	// maxKeys is how many of the peer's keys are tried on a packet: the agreed
	// one, one that is being agreed, and former ones.
	maxKeys = 4

	// keyGrace is how long packets under the former key are still taken after
	// the first packet under a new one.
	keyGrace = 5 * time.Second
)

// leg is the media of one dialog. All legs of a session share its sockets and
// what it sends; each has its own keys to receive with, its own peer address
// and its own received stream.
type leg struct {
	s      *Session
	dialog string
	neg    *negotiate.Leg // nmu

	// Everything below is under the session's mu.
	closed bool
	open   bool // an offer of ours waits for its final answer
	agreed bool // media means something
	media  negotiate.Media
	keys   []*key // newest first
	route  route
	rx     receiver

	sentTo   sentTo
	newPeer  bool // address and key changed together: it has not seen our packets
	inherits bool // made while the first offer was open
	started  bool
	heardAt  time.Time // last sign of life, or when it became due
	silent   bool      // a timeout was told
}

// key is what the peer encrypts with, or did until lately.
type key struct {
	in       *srtpctx.In
	wanted   bool // agreed, or about to be
	agreed   bool
	verified time.Time // when its first packet came
	told     bool      // that it comes to its end
}

// sentTo is the last packet of ours that was for a leg.
type sentTo struct {
	ssrc  uint32
	index uint64
}

// Offer makes an offer within the dialog (offeranswer.Leg).
func (l *leg) Offer(ctx context.Context, o offeranswer.Options) ([]byte, error) {
	l.s.nmu.Lock()
	defer l.s.nmu.Unlock()
	if err := l.usable(); err != nil {
		return nil, err
	}
	if len(o.Add) > 0 {
		return nil, ErrStreams
	}
	l.freshen(&o)
	sdp, err := l.neg.Offer(o, l.s.locate(ctx))
	if err != nil {
		return nil, err
	}
	return sdp, l.refresh(ctx, false)
}

// Answer makes the answer to the peer's offer, to be in force after Commit
// (offeranswer.Leg). What the peer sends under the keys of its offer is
// understood from now on.
func (l *leg) Answer(ctx context.Context, offer []byte, o offeranswer.Options) ([]byte, error) {
	l.s.nmu.Lock()
	defer l.s.nmu.Unlock()
	if err := l.usable(); err != nil {
		return nil, err
	}
	l.freshen(&o)
	sdp, err := l.neg.Answer(offer, o, l.s.locate(ctx))
	if err != nil {
		return nil, err
	}
	if err := l.refresh(ctx, false); err != nil {
		l.neg.Rollback()
		return nil, err
	}
	return sdp, nil
}

// SetAnswer takes the peer's answer (offeranswer.Leg).
func (l *leg) SetAnswer(ctx context.Context, sdp []byte, provisional bool) error {
	l.s.nmu.Lock()
	defer l.s.nmu.Unlock()
	if err := l.usable(); err != nil {
		return err
	}
	if err := l.neg.SetAnswer(sdp, provisional); err != nil {
		return err
	}
	return l.refresh(ctx, !provisional)
}

// Commit puts the staged answer in force (offeranswer.Leg).
func (l *leg) Commit() error {
	l.s.nmu.Lock()
	defer l.s.nmu.Unlock()
	if err := l.usable(); err != nil {
		return err
	}
	if err := l.neg.Commit(); err != nil {
		return err
	}
	return l.refresh(context.Background(), true)
}

// Rollback returns to what was last agreed (offeranswer.Leg).
func (l *leg) Rollback() error {
	l.s.nmu.Lock()
	defer l.s.nmu.Unlock()
	if err := l.usable(); err != nil {
		return err
	}
	l.neg.Rollback()
	return l.refresh(context.Background(), false)
}

// Local is the session description last agreed (offeranswer.Leg).
func (l *leg) Local() []byte {
	l.s.nmu.Lock()
	defer l.s.nmu.Unlock()
	return l.neg.Local()
}

// Streams describes what is agreed (offeranswer.Leg).
func (l *leg) Streams() []offeranswer.Stream {
	l.s.nmu.Lock()
	defer l.s.nmu.Unlock()
	return l.neg.Streams()
}

// Close ends the leg (offeranswer.Leg).
func (l *leg) Close() error {
	l.s.nmu.Lock()
	defer l.s.nmu.Unlock()
	l.s.mu.Lock()
	defer l.s.mu.Unlock()
	if !l.closed {
		l.s.leave(l)
		l.closed = true
	}
	return nil
}

// usable is [ErrClosed] when the leg or the session is closed. The caller
// holds nmu.
func (l *leg) usable() error {
	l.s.mu.Lock()
	defer l.s.mu.Unlock()
	if l.closed || l.s.closed {
		return ErrClosed
	}
	return nil
}

// freshen asks for a new key of ours when the present one is near its end.
func (l *leg) freshen(o *offeranswer.Options) {
	l.s.mu.Lock()
	defer l.s.mu.Unlock()
	if out := l.s.send.out; out != nil && out.Expiring() {
		o.NewKeys = true
	}
}

// audio is the stream in use, the zero value when there is none.
func audio(media []negotiate.Media) (negotiate.Media, bool) {
	for i := range media {
		if !media[i].Disabled && media[i].Kind == offeranswer.Audio {
			return media[i], true
		}
	}
	return negotiate.Media{Disabled: true}, len(media) > 0
}

// refresh brings the leg in line with what was negotiated. final says that an
// exchange has just come to its end. The caller holds nmu.
func (l *leg) refresh(ctx context.Context, final bool) error {
	s := l.s
	agreed, isAgreed := audio(l.neg.Agreed())
	staged, _ := audio(l.neg.Staged())
	for _, m := range []*negotiate.Media{&agreed, &staged} {
		if err := s.resolve(ctx, m); err != nil {
			return err
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed || l.closed {
		return ErrClosed
	}
	l.open = l.neg.Open()
	if l.inherits && !l.open {
		s.offering, l.inherits = false, false
	}
	if err := l.admit(agreed.RemoteCrypto, staged.RemoteCrypto); err != nil {
		return err
	}
	if isAgreed {
		if err := l.apply(agreed); err != nil {
			return err
		}
	}
	if final && s.former != nil {
		s.former.close()
		s.former = nil
	}
	s.held.again = s.held.n > 0
	return nil
}

// admit makes contexts for the keys that the peer uses or is about to, the
// agreed one first.
func (l *leg) admit(cryptos ...*sdes.Crypto) error {
	for _, k := range l.keys {
		k.wanted, k.agreed = false, false
	}
	for n, c := range cryptos {
		if c == nil {
			continue
		}
		i := slices.IndexFunc(l.keys, func(k *key) bool { return k.in.Crypto().SameContext(c) })
		if i >= 0 {
			l.keys[i].wanted, l.keys[i].agreed = true, l.keys[i].agreed || n == 0
			continue
		}
		in, err := srtpctx.NewIn(c)
		if err != nil {
			return err
		}
		if len(l.keys) > 0 {
			in.Continue(l.keys[0].in)
		}
		l.keys = slices.Insert(l.keys, 0, &key{in: in, wanted: true, agreed: n == 0})
	}
	for i := len(l.keys) - 1; i >= 0 && len(l.keys) > maxKeys; i-- {
		if !l.keys[i].wanted {
			l.keys = slices.Delete(l.keys, i, i+1)
		}
	}
	return nil
}

// superseded tells whether the peer is heard under another key, in whose favour
// k was given up or is about to be.
func (l *leg) superseded(k *key) bool {
	newer := true
	for _, o := range l.keys {
		if o == k {
			newer = false
		} else if o.wanted && !o.verified.IsZero() && (newer || !k.wanted) {
			return true
		}
	}
	return false
}

// prune forgets former keys some time after new ones are in use.
func (l *leg) prune(now time.Time) {
	if len(l.keys) < 2 {
		return
	}
	first := l.keys[0]
	if first.wanted && !first.verified.IsZero() && now.Sub(first.verified) > keyGrace {
		l.keys = slices.DeleteFunc(l.keys, func(k *key) bool { return !k.wanted })
		first.in.Settled()
	}
}

// apply puts an agreement in force.
func (l *leg) apply(m negotiate.Media) error {
	was, first := l.media, !l.agreed
	l.media, l.agreed = m, true
	moved := l.route.set(&m)
	if !first && moved && m.Secure() && !m.RemoteCrypto.SameContext(was.RemoteCrypto) {
		l.newPeer = true
	}
	if first || !was.Receives() {
		l.heardAt = time.Time{} // silence counts from here
	}
	l.rx.configure(&l.media)
	s := l.s
	if s.selected == nil && !m.Disabled {
		return s.choose(l)
	}
	if s.selected == l {
		return s.configure()
	}
	return nil
}

// resolve finds the address of a peer that gave a host name.
func (s *Session) resolve(ctx context.Context, m *negotiate.Media) error {
	if m.Disabled || m.ConnectionHold || m.RemoteHost == "" || m.RemoteRTP.Addr().IsValid() {
		return nil
	}
	addrs, err := net.DefaultResolver.LookupNetIP(ctx, "ip", m.RemoteHost)
	if err != nil {
		return fmt.Errorf("media: the peer's address: %w", err)
	}
	at := slices.IndexFunc(addrs, func(a netip.Addr) bool {
		return a.Unmap().Is4() == m.Transport.RTP.Addr().Is4()
	})
	if at < 0 {
		return fmt.Errorf("media: the peer's address %q is of another family", m.RemoteHost)
	}
	a := addrs[at].Unmap()
	m.RemoteRTP = netip.AddrPortFrom(a, m.RemoteRTP.Port())
	if m.RemoteRTCP.Port() != 0 && !m.RemoteRTCP.Addr().IsValid() {
		m.RemoteRTCP = netip.AddrPortFrom(a, m.RemoteRTCP.Port())
	}
	return nil
}
