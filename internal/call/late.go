package call

import (
	"bytes"
	"fmt"
	"time"

	"github.com/hoorn-phone/hoorn/internal/sipwire"
	"github.com/hoorn-phone/hoorn/sip/offeranswer"
)

// An INVITE without a session description lets the peer make the offer, in its
// 2xx; the answer travels in the ACK (RFC 3261 §13.2.1, §14.1). Media ask for
// that with an Offer of nil. The 2xx, and its retransmissions, wait meanwhile.

// answerLate answers the offer in a 2xx and acknowledges that.
func (c *Call) answerLate(now time.Time, l *leg, offer []byte, err error, done func(now time.Time, err error)) {
	if err == nil && offer == nil {
		err = ErrAnswer
	}
	if err != nil {
		l.acknowledge(now, nil)
		done(now, err)
		return
	}
	l.owed.offer = offer
	c.makeAnswer(now, l, offer, offeranswer.Options{}, func(now time.Time, answer []byte, err error) {
		if err != nil {
			answer = declined(offer)
		}
		l.acknowledge(now, answer)
		done(now, err)
	})
}

// declined is an answer that refuses every stream (RFC 3264 §6), nil where there
// is no offer to read. Every 2xx is acknowledged, and one with an offer that
// nobody wants too: "the UAC core MUST generate a valid answer in the ACK and
// then send a BYE immediately" (RFC 3261 §13.2.2.4).
func declined(offer []byte) []byte {
	answer := []byte("v=0\r\no=- 1 1 IN IP4 0.0.0.0\r\ns=-\r\nc=IN IP4 0.0.0.0\r\nt=0 0\r\n")
	streams := 0
	for line := range bytes.Lines(offer) {
		m, ok := bytes.CutPrefix(line, []byte("m="))
		if !ok {
			continue
		}
		kind, m, _ := bytes.Cut(bytes.TrimSpace(m), []byte(" "))
		_, formats, ok := bytes.Cut(m, []byte(" ")) // after the port
		if !ok {
			return nil
		}
		answer = fmt.Appendf(answer, "m=%s 0 %s\r\n", kind, formats)
		streams++
	}
	if streams == 0 {
		return nil
	}
	return answer
}

// reasonOf tells a peer why its session description ended the call.
func reasonOf(err error) []Reason {
	code := StatusOf(err)
	return []Reason{{Protocol: "SIP", Cause: code, Text: sipwire.ReasonPhrase(code)}}
}
