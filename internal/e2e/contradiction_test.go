package e2e_test

import (
	"errors"
	"regexp"
	"strings"
	"testing"
	"time"

	sipgo "github.com/emiago/sipgo/sip"

	"github.com/hoorn-phone/hoorn/media"
	"github.com/hoorn-phone/hoorn/sip"
)

// streamsOf are the lines of a description from its first m= line on.
var streamsOf = regexp.MustCompile(`(?s)m=audio.*`)

// off refuses the streams of a description, or ends them.
func off(sdp string) string {
	return regexp.MustCompile(`m=audio \d+`).ReplaceAllString(sdp, "m=audio 0")
}

// contradictions are what a bad peer, or who tampers with his words, makes of an
// answer: that it cannot be one to the offer, or means two things at once.
var contradictions = []struct {
	name   string
	edit   func(sdp string) string
	answer error // why it is no good as an answer; nil: it is
	offer  error // and as an offer
	quiet  bool  // good, but without sound
}{
	// "For each 'm=' line in the offer, there MUST be a corresponding 'm=' line in
	// the answer" (RFC 3264 §6). An offer has as many as it likes, and more than before.
	{name: "one stream more, RFC 3264 §6", edit: func(sdp string) string { return sdp + "m=audio 40000 RTP/AVP 0\r\n" }, answer: media.ErrContradiction},
	{name: "no stream, RFC 3264 §6", edit: func(sdp string) string { return streamsOf.ReplaceAllString(sdp, "") }, answer: media.ErrContradiction, offer: media.ErrContradiction},
	{name: "another kind of stream, RFC 3264 §6", edit: func(sdp string) string { return strings.Replace(sdp, "m=audio", "m=video", 1) }, answer: media.ErrContradiction, offer: media.ErrContradiction},
	{name: "formats never offered, RFC 3264 §6.1", edit: func(sdp string) string { return mediaLine.ReplaceAllString(sdp, "$1 3 18") }, answer: media.ErrNoCodec, offer: media.ErrNoCodec},
	{name: "two directions, RFC 3264 §5.1", edit: func(sdp string) string { return sdp + "a=sendonly\r\na=inactive\r\n" }, answer: media.ErrContradiction, offer: media.ErrContradiction},
	// That refuses the stream, and not the call.
	{name: "port 0, RFC 3264 §6", edit: off, quiet: true},
	// The answer has one a=crypto, with the tag of what it takes from the offer.
	{name: "a crypto tag never offered, RFC 4568 §5.1.3", edit: func(sdp string) string {
		return regexp.MustCompile(`a=crypto:\d+`).ReplaceAllString(sdp, "a=crypto:77")
	}, answer: media.ErrNotSecure},
	{name: "one crypto tag twice, RFC 4568 §5.1.3 and §9.1", edit: func(sdp string) string {
		line := cryptoLines.FindString(sdp)
		return strings.Replace(sdp, line, line+line, 1)
	}, answer: media.ErrNotSecure, offer: media.ErrContradiction},
	{name: "RTP/SAVP as RTP/AVP, RFC 3264 §6", edit: plain, answer: media.ErrNotSecure, offer: media.ErrNotSecure},
}

// An answer that contradicts itself, or the offer: the caller acknowledges it and
// ends the call (RFC 3261 §13.2.2.4), and each side is told why.
func TestContradictoryAnswer_RFC3264_6(t *testing.T) {
	for _, x := range contradictions {
		t.Run(x.name, func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				w, alice, bob := between(t, isAnswer, x.edit)
				a, b, errA, errB := alice.attempt(bob)
				if x.answer != nil {
					if end := ended(t, a, sip.Nobody); !errors.Is(errA, x.answer) || !errors.Is(end.Err, x.answer) {
						t.Errorf("alice got %v, %v; want %v", errA, end, x.answer)
					}
					if end := ended(t, b, sip.Remote); len(end.Reasons) != 1 || end.Reasons[0].Cause != 488 {
						t.Errorf("bob: %+v", end)
					}
					if n := w.wire.count(alice.addr); n != 0 {
						t.Errorf("alice sent %d packets", n)
					}
				} else {
					must(t, errors.Join(errA, errB))
					if s := a.Streams(); x.quiet && (len(s) != 1 || !s[0].Disabled) {
						t.Errorf("alice has %+v", s)
					}
					pass(time.Second)
					if n := w.wire.count(alice.addr); x.quiet && n != 0 {
						t.Errorf("alice sent %d packets", n)
					}
					must(t, a.Hangup(t.Context()))
					ended(t, b, sip.Remote)
				}
				checkIdle(t, w)
			})
		})
	}
}

// An offer like that is refused with 488 (RFC 3261 §13.3.1.3), or what is good in
// it is answered.
func TestContradictoryOffer_RFC3264_5(t *testing.T) {
	for _, x := range contradictions {
		if x.offer == nil || x.name == "no stream, RFC 3264 §6" {
			continue
		}
		t.Run(x.name, func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				w, alice, bob := between(t, isOffer, x.edit)
				why := x.offer
				if strings.HasPrefix(x.name, "another kind") {
					why = media.ErrNoStream // there is nothing that it contradicts yet
				}
				refused(t, alice, bob, 488, why)
				checkIdle(t, w)
				if n := w.wire.total(); n != 0 {
					t.Errorf("%d packets were sent", n)
				}
			})
		})
	}
}

// A call that stands survives a bad offer: it is refused with 488, and all is as it
// was (RFC 3261 §14.2). RFC 3264 §8 adds that there are never fewer streams than
// before, and §8.3.3 that a stream does not become another kind.
func TestContradictoryReoffer_RFC3264_8(t *testing.T) {
	for _, x := range contradictions {
		if x.offer == nil {
			continue
		}
		t.Run(x.name, func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				h := newHums(t, "PCMU")
				before := h.a.sess.Stats()
				h.man.tamper(func(_ bool, m sipgo.Message) {
					if isOffer(m) {
						edit(m, x.edit)
					}
				})
				for _, y := range []*end{h.a, h.b} {
					h.during(t, 0, func() {
						err := y.Renegotiate(t.Context(), options{NewKeys: true})
						var se *sip.StatusError
						if !errors.As(err, &se) || se.Code != 488 {
							t.Errorf("%s got %v", y.p.AOR(), err)
						}
					})
				}
				h.man.tamper(nil)
				if after := h.a.sess.Stats(); after.Codec != before.Codec || after.Suite != before.Suite || after.Remote != before.Remote {
					t.Errorf("%+v, before %+v", after, before)
				}
				// The next good one is taken.
				h.during(t, 1, func() { must(t, h.b.Renegotiate(t.Context(), options{NewKeys: true})) })
				hangup(t, h.a, h.b)
			})
		})
	}
}

// A bad answer to a new offer: ours is rolled back and made once more, since the
// peer believes in what he has said. A second that is bad ends the call.
func TestContradictoryReanswer_RFC3264_6(t *testing.T) {
	for _, x := range contradictions {
		if x.answer == nil {
			continue
		}
		for name, times := range map[string]int{"once": 1, "for ever": 1000} {
			t.Run(x.name+", "+name, func(t *testing.T) {
				bubble(t, func(t *testing.T) {
					h := newHums(t, "PCMU")
					n := 0
					h.man.tamper(func(toPhone bool, m sipgo.Message) {
						if toPhone && isAnswer(m) && n < times {
							n++
							edit(m, x.edit)
						}
					})
					err := h.a.Renegotiate(t.Context(), options{})
					if !errors.Is(err, x.answer) {
						t.Errorf("got %v, want %v", err, x.answer)
					}
					if times > 1 {
						if end := ended(t, h.a.Call, sip.Nobody); !errors.Is(end.Err, x.answer) {
							t.Errorf("alice: %+v", end)
						}
						ended(t, h.b.Call, sip.Remote)
						checkIdle(t, h.w)
						return
					}
					pass(time.Second)
					h.during(t, 0, func() {})
					hangup(t, h.a, h.b)
				})
			})
		}
	}
}

// A new offer whose streams are all off is a good one (RFC 3264 §8.2): the call goes
// on in silence.
func TestAllStreamsOff_RFC3264_8_2(t *testing.T) {
	bubble(t, func(t *testing.T) {
		h := newHums(t, "PCMU")
		h.man.tamper(func(_ bool, m sipgo.Message) {
			if isOffer(m) {
				edit(m, off)
			}
		})
		must(t, h.a.Renegotiate(t.Context(), options{}))
		pass(time.Second)
		before := h.w.wire.count(h.a.p.addr) + h.w.wire.count(h.b.p.addr)
		pass(time.Second)
		if n := h.w.wire.count(h.a.p.addr) + h.w.wire.count(h.b.p.addr) - before; n != 0 {
			t.Errorf("%d packets were sent", n)
		}
		for _, y := range []*end{h.a, h.b} {
			if s := y.Streams(); len(s) != 1 || !s[0].Disabled || y.State() != sip.CallEstablished {
				t.Errorf("%s: %v with %+v", y.p.AOR(), y.State(), s)
			}
		}
		hangup(t, h.a, h.b)
	})
}
