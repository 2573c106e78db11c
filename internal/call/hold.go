package call

import (
	"bytes"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/hoorn-phone/hoorn/sip/offeranswer"
)

// Hold (RFC 3264 §8.4, RFC 6337 §5.3). Who holds says that he does not want
// to hear. The wish of our user and what the peer says are kept apart, so that
// neither undoes the other. Offers say what we want alone: sendonly while we
// hold, sendrecv while we do not, whatever the peer said last. He narrows it in
// his answer where he holds still, and where he does not, as he or somebody
// whom a server has joined us with has resumed meanwhile, nobody is left on a
// hold that is over. So RFC 6337 §5.3 has it, and prefers sendonly under the
// peer's hold to the inactive of RFC 3264 §8.4.

// Hold says who has put whom on hold.
type Hold struct {
	Local  bool // we do not hear the peer: agreed, not only wished
	Remote bool // the peer does not hear us
}

// holding is what a call knows of hold and directions.
type holding struct {
	wish   bool                          // of our user
	agreed Hold                          // as the latest exchange left it
	want   map[int]offeranswer.Direction // by stream: what our user wants while nobody holds
	used   bool                          // directions are ours to say from now on, not what media remember
	lively bool                          // sound could go to the peer once: inactive means hold from then on
}

// Hold puts the peer on hold, or takes him back. It waits for its turn behind
// other offers. done, if not nil, is told the outcome; a refusal leaves
// everything as it was. Nothing is sent where that is said already.
func (c *Call) Hold(now time.Time, on bool, done func(now time.Time, err error)) {
	r := &reoffer{c: c, hold: &on, done: done}
	switch {
	case c.state != Established && c.state != Answering && c.state != Ended:
		r.finish(now, ErrState)
		return
	case c.state != Ended && len(c.queued) < maxPending:
		// From now on, so that an answer to an offer which crosses the wish
		// says it.
		c.holding.wish, c.holding.used = on, true
	}
	c.reoffer(now, r)
}

// Held says who is on hold.
func (c *Call) Held() Hold { return c.holding.agreed }

// Inherit takes over what our user wants of the call that this one takes the
// place of: his directions, and that he holds. Before Dial, Answer and Progress.
func (c *Call) Inherit(from *Call) {
	c.holding.wish, c.holding.used = from.holding.wish, from.holding.used
	c.holding.want = maps.Clone(from.holding.want)
}

// beginning completes the options of the offer in an INVITE, which is for one
// audio stream and those added.
func (h *holding) beginning(o offeranswer.Options) offeranswer.Options {
	streams := []offeranswer.Stream{{Kind: offeranswer.Audio}}
	return h.offering(streams, o, h.wish)
}

// held tells whether the offer of a reoffer says hold.
func (r *reoffer) held() bool {
	if r.hold != nil {
		return *r.hold
	}
	return r.c.holding.wish
}

// unwish takes back the wish of an offer that was refused, unless our user
// has said another since.
func (r *reoffer) unwish() {
	c := r.c
	if r.hold == nil {
		return
	}
	c.holding.wish = c.holding.agreed.Local
	for _, q := range c.queued {
		if q.hold != nil {
			c.holding.wish = *q.hold
		}
	}
}

// offering completes the options of an offer by the directions of all
// streams, added ones too: what we want, not what the peer lets us.
func (h *holding) offering(streams []offeranswer.Stream, o offeranswer.Options, hold bool) offeranswer.Options {
	if !h.used {
		return o
	}
	said := maps.Clone(o.Direction)
	o.Direction = make(map[int]offeranswer.Direction)
	for i := range len(streams) + len(o.Add) {
		d := h.wanted(i, said)
		switch {
		case i >= len(streams):
			if !holdable(o.Add[i-len(streams)]) {
				continue
			}
		case streams[i].Disabled || !holdable(streams[i].Kind):
			continue
		}
		o.Direction[i] = directed(d.Sends(), d.Receives() && !hold)
	}
	for i, d := range said {
		if _, ok := o.Direction[i]; !ok {
			o.Direction[i] = d
		}
	}
	return o
}

// narrowed tells whether a stream has a direction less because the peer did not
// want it. Where we hold as well, and cannot tell, it says so too.
func narrowed(streams []offeranswer.Stream) bool {
	return slices.ContainsFunc(streams, func(s offeranswer.Stream) bool {
		return !s.Disabled && (!s.Local.Sends() && !s.Remote.Receives() || !s.Local.Receives() && !s.Remote.Sends())
	})
}

// answering does the same for the answer to an offer. What the peer does not
// want falls away by itself.
func (h *holding) answering(offer []byte, o offeranswer.Options, hold bool) offeranswer.Options {
	if !h.used {
		return o
	}
	said := o.Direction
	o.Direction = maps.Clone(said)
	if o.Direction == nil {
		o.Direction = make(map[int]offeranswer.Direction)
	}
	i := 0
	for line := range bytes.Lines(offer) {
		m, ok := bytes.CutPrefix(line, []byte("m="))
		if !ok {
			continue
		}
		kind, _, _ := strings.Cut(string(m), " ")
		if holdable(offeranswer.Kind(kind)) {
			d := h.wanted(i, said)
			o.Direction[i] = directed(d.Sends(), d.Receives() && !hold)
		}
		i++
	}
	return o
}

// wanted is the direction of a stream while nobody holds.
func (h *holding) wanted(i int, said map[int]offeranswer.Direction) offeranswer.Direction {
	if d, ok := said[i]; ok {
		return d
	}
	return h.want[i] // SendRecv unless our user has said another
}

// remember keeps the directions that our user has asked for.
func (h *holding) remember(said map[int]offeranswer.Direction) {
	if len(said) > 0 && h.want == nil {
		h.want = make(map[int]offeranswer.Direction)
	}
	maps.Copy(h.want, said)
}

// note takes the outcome of an exchange, in which we have said hold or not,
// and tells whether it has changed anything.
func (h *holding) note(streams []offeranswer.Stream, hold bool) bool {
	was := h.agreed
	h.agreed = Hold{Local: hold, Remote: h.remote(streams)}
	return h.agreed != was
}

// remote tells whether the peer wants to hear nothing. A call without sound in
// either direction from its beginning is not on hold.
func (h *holding) remote(streams []offeranswer.Stream) bool {
	var some, deaf bool
	for _, s := range streams {
		if s.Disabled || !holdable(s.Kind) {
			continue
		}
		some = true
		h.lively = h.lively || s.Local.Sends() && s.Remote.Receives()
		if s.Remote.Receives() {
			return false
		}
		deaf = deaf || s.Remote.Sends() || s.Local.Sends()
	}
	return some && (deaf || h.lively)
}

// noteHold tells the user if who holds has changed.
func (c *Call) noteHold(now time.Time, l *leg) {
	if l == c.active && c.holding.note(l.streams, l.held) {
		c.env.Event(now, c, Event{Kind: HoldChanged, Held: c.holding.agreed})
	}
}

// holdable are the streams that hold is about.
func holdable(k offeranswer.Kind) bool { return k == offeranswer.Audio || k == offeranswer.Video }

func directed(sends, receives bool) offeranswer.Direction {
	switch {
	case sends && receives:
		return offeranswer.SendRecv
	case sends:
		return offeranswer.SendOnly
	case receives:
		return offeranswer.RecvOnly
	}
	return offeranswer.Inactive
}
