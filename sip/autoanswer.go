package sip

import (
	"strings"
	"time"

	sipgo "github.com/emiago/sipgo/sip"

	"github.com/hoorn-phone/hoorn/internal/sipwire"
	"github.com/hoorn-phone/hoorn/internal/timerq"
	"github.com/hoorn-phone/hoorn/sip/offeranswer"
)

// maxAnswerAfter bounds how long a caller can ask to wait before his call is
// answered by itself.
const maxAnswerAfter = time.Minute

// autoAnswerOf reads whether a caller asks for his call to be answered by
// itself, and after how long:
//
//	Call-Info: <sip:as.example.com>;answer-after=0
//	Answer-Mode: Auto                                (RFC 5373)
//	Priv-Answer-Mode: Auto
//	Alert-Info: <http://127.0.0.1>;info=alert-autoanswer
//
// Priv-Answer-Mode counts over the account's own flow alone: whoever sends it
// claims a right that his server has to know of.
func autoAnswerOf(req *sipgo.Request, own bool) (after time.Duration, ok bool) {
	for v := range sipwire.Values(req, "Call-Info") {
		// The URI may be of any scheme; only its parameters are looked at.
		_, rest, _ := strings.Cut(v, ">")
		_, params, _ := sipwire.ParseValue("uri" + rest)
		s, _ := sipwire.Param(params, "answer-after")
		if d, ok := sipwire.ParseSeconds(s); ok {
			return min(d, maxAnswerAfter), true
		}
	}
	if isAuto(sipwire.Header(req, "Answer-Mode")) || own && isAuto(sipwire.Header(req, "Priv-Answer-Mode")) {
		return 0, true
	}
	for v := range sipwire.Values(req, "Alert-Info") {
		if strings.Contains(strings.ToLower(v), "info=alert-autoanswer") {
			return 0, true
		}
	}
	return 0, false
}

// isAuto reads an answer-mode-value (RFC 5373).
func isAuto(v string) bool {
	mode, _, ok := sipwire.ParseValue(v)
	return ok && strings.EqualFold(mode, "Auto")
}

// autoAnswer answers a call by itself where its caller asks for that and the
// app allows it. In the loop.
func (c *Call) autoAnswer(now time.Time) {
	id, allow := c.Identity(), c.ua.cfg.AutoAnswer
	if !id.AutoAnswer || allow == nil || !allow(c) {
		return
	}
	answer := func(now time.Time) {
		// Without effect once the call is answered, or over.
		c.m.Answer(now, offeranswer.Options{}, func(time.Time, error) {})
	}
	if id.AnswerAfter == 0 {
		answer(now)
		return
	}
	_ = c.m.Ring(now, sipgo.StatusRinging, "")
	c.ua.ep.Q.Set(&timerq.Timer{F: answer}, now.Add(id.AnswerAfter))
}
