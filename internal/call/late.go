package call

import (
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
	c.makeAnswer(now, l, offer, offeranswer.Options{}, func(now time.Time, answer []byte, err error) {
		// Every 2xx is acknowledged, one whose offer is not acceptable too; a
		// BYE ends that call (RFC 3261 §13.2.2.4).
		l.acknowledge(now, answer)
		done(now, err)
	})
}

// reasonOf tells a peer why its session description ended the call.
func reasonOf(err error) []Reason {
	code := StatusOf(err)
	return []Reason{{Protocol: "SIP", Cause: code, Text: sipwire.ReasonPhrase(code)}}
}
