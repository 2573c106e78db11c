package negotiate

import (
	"bytes"
	"fmt"
	"slices"

	"github.com/hoorn-phone/hoorn/sip/offeranswer"
)

// Leg is the negotiation with the peer of one dialog.
type Leg struct {
	s *Session

	// last is the newest description that the peer got, version the highest
	// number used in an o= line.
	last    *description
	version uint64
	// numbers are what our payload types mean, by stream. They outlive offers
	// that came to nothing: the peer has seen them (RFC 3264 §8.3.2).
	numbers []numbers

	// open is our offer without a final answer. inherited says that it is the
	// session's, and that this leg has heard nothing about it.
	open      *description
	inherited bool
	// closed is our offer whose final answer came last in this leg: another
	// answer to it is a correction. answer is the text of the newest answer.
	closed *description
	answer []byte

	agreed *agreement // in force, confirmed
	early  *agreement // in force by a provisional answer to open
	staged *agreement // our answer, not in force yet
}

// agreement is one finished exchange.
type agreement struct {
	local   *description
	streams []stream // what the next description is made from
	media   []Media
}

// Offer makes an offer within the dialog. It stays open until SetAnswer or
// Rollback. Errors wrap [ErrState], [ErrOptions] or come from at.
func (l *Leg) Offer(o offeranswer.Options, at Locate) ([]byte, error) {
	if l.staged != nil || l.open != nil && !l.inherited {
		return nil, fmt.Errorf("%w: an offer while another exchange is open", ErrState)
	}
	streams, err := l.s.offerStreams(l.base(), l.numbers, o, at)
	if err != nil {
		return nil, err
	}
	d, err := l.describe(streams)
	if err != nil {
		return nil, err
	}
	l.sent(d)
	l.open, l.inherited, l.closed = d, false, nil
	return clone(d.text), nil
}

// Answer makes the answer to the peer's offer and stages it until Commit or
// Rollback. An offer that cannot be accepted is an [*Error]; an error of at is
// returned as it is.
func (l *Leg) Answer(offer []byte, o offeranswer.Options, at Locate) ([]byte, error) {
	if l.staged != nil || l.open != nil && !l.inherited {
		return nil, fmt.Errorf("%w: an offer of the peer while another exchange is open", ErrState)
	}
	r, err := parse(offer)
	if err != nil {
		return nil, err
	}
	streams, media, err := l.s.answerStreams(l.base(), l.numbers, r, o, at)
	if err != nil {
		return nil, err
	}
	d, err := l.describe(streams)
	if err != nil {
		return nil, err
	}
	l.sent(d)
	l.open, l.inherited, l.closed = nil, false, nil
	l.staged = &agreement{local: d, streams: streams, media: media}
	return clone(d.text), nil
}

// SetAnswer takes the peer's answer to the open offer. A provisional one takes
// effect and leaves the offer open for others. After the final answer another
// one is honoured as a correction, until the next offer of either side: a 2xx
// may differ from the reliable 183 before it. On error, an [*Error] or one
// that wraps [ErrState], nothing has changed.
func (l *Leg) SetAnswer(answer []byte, provisional bool) error {
	offer := l.open
	if offer == nil {
		offer = l.closed
	}
	if offer == nil {
		return fmt.Errorf("%w: an answer without an offer", ErrState)
	}
	was := l.current()
	if l.answer == nil || was == nil || was.local != offer || !bytes.Equal(answer, l.answer) {
		r, err := parse(answer)
		if err != nil {
			return err
		}
		var inForce []Media
		if was != nil {
			inForce = was.media
		}
		streams, media, err := l.s.acceptAnswer(offer.streams, inForce, r)
		if err != nil {
			return err
		}
		was = &agreement{local: offer, streams: streams, media: media}
		l.remember(streams)
	}
	l.answer, l.inherited = clone(answer), false
	switch {
	case l.open == nil: // a correction, as final as what it corrects
		l.agreed = was
	case provisional:
		l.early = was
	default:
		l.agreed, l.early = was, nil
		l.open, l.closed = nil, offer
	}
	return nil
}

// Commit puts the staged answer in force. Without one it is an error that
// wraps [ErrState].
func (l *Leg) Commit() error {
	if l.staged == nil {
		return fmt.Errorf("%w: nothing to commit", ErrState)
	}
	l.agreed, l.staged = l.staged, nil
	return nil
}

// Rollback drops an open offer, with what provisional answers to it had
// changed, and a staged answer.
func (l *Leg) Rollback() {
	l.open, l.early, l.staged, l.inherited = nil, nil, nil, false
}

// Open tells whether an offer of ours waits for its final answer.
func (l *Leg) Open() bool { return l.open != nil }

// Local is our description last agreed, nil before there was one. A session
// refresh repeats it byte for byte (RFC 4028 §7.4).
func (l *Leg) Local() []byte {
	if a := l.current(); a != nil {
		return clone(a.local.text)
	}
	return nil
}

// Agreed is what is in force, in the order of the m= lines. It is nil before
// anything was agreed. The slice is the caller's.
func (l *Leg) Agreed() []Media {
	if a := l.current(); a != nil {
		return slices.Clone(a.media)
	}
	return nil
}

// Staged is what Commit would put in force, nil when nothing is staged.
func (l *Leg) Staged() []Media {
	if l.staged != nil {
		return slices.Clone(l.staged.media)
	}
	return nil
}

// Streams describes what is in force.
func (l *Leg) Streams() []offeranswer.Stream {
	a := l.current()
	if a == nil {
		return nil
	}
	out := make([]offeranswer.Stream, len(a.media))
	for i := range a.media {
		m := &a.media[i]
		out[i] = offeranswer.Stream{
			Kind: m.Kind, Local: m.Local, Remote: m.Remote,
			Secure: m.Secure(), Detail: m.detail(), Disabled: m.Disabled,
		}
		if m.ConnectionHold { // RFC 3264 §8.4: as good as sendonly
			out[i].Remote = direct(m.Remote.Sends(), false)
		}
	}
	return out
}

func (l *Leg) current() *agreement {
	if l.early != nil {
		return l.early
	}
	return l.agreed
}

// base is what a new exchange starts from.
func (l *Leg) base() agreement {
	if l.agreed != nil {
		return *l.agreed
	}
	return agreement{}
}

func (l *Leg) describe(streams []stream) (*description, error) {
	var prev []*description
	if l.agreed != nil {
		prev = append(prev, l.agreed.local)
	}
	if l.last != nil {
		prev = append(prev, l.last)
	}
	return l.s.describe(streams, l.version, prev...)
}

func (l *Leg) sent(d *description) {
	l.last, l.version = d, max(l.version, d.version)
	l.remember(d.streams)
}

func (l *Leg) remember(streams []stream) {
	for i := range streams {
		if i == len(l.numbers) {
			l.numbers = append(l.numbers, numbers{})
		}
		l.numbers[i] = streams[i].numbers
	}
}

func clone(b []byte) []byte { return append([]byte(nil), b...) }
