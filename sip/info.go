package sip

import (
	"mime"
	"time"

	sipgo "github.com/emiago/sipgo/sip"

	"github.com/hoorn-phone/hoorn/internal/sipwire"
	"github.com/hoorn-phone/hoorn/internal/transaction"
)

const statusBadInfoPackage = 469

// informed takes an INFO in a call's dialog (RFC 6086).
func (c *Call) informed(now time.Time, s *transaction.Server) {
	ua, req := c.ua, s.Request()
	if sipwire.Find(req, "Info-Package") != nil {
		// No package was announced as wanted, so that none can come: "the UA
		// MUST send a 469 (Bad Info Package) response ... which contains a
		// Recv-Info header field with Info Packages for which the UA is willing
		// to receive INFO requests" (§4.2.2).
		ua.respond(now, s, statusBadInfoPackage, sipgo.NewHeader("Recv-Info", ""))
		return
	}
	// Without a package it is one of the old kind, whose body says what it is
	// about (§9).
	body, contentType := req.Body(), bodyType(req)
	switch {
	case len(body) == 0:
		ua.respond(now, s, sipgo.StatusOK) // asks whether we are there
	case contentType == dtmfRelay, contentType == dtmfPlain:
		d, ok := parseDigit(contentType, body)
		if !ok {
			ua.respond(now, s, sipgo.StatusBadRequest)
			return
		}
		ua.respond(now, s, sipgo.StatusOK)
		c.log.add(Event{Time: now, Kind: DigitReceived, Digit: d})
	case isOptional(req):
		ua.respond(now, s, sipgo.StatusOK)
	default:
		ua.respond(now, s, sipgo.StatusUnsupportedMediaType, sipgo.NewHeader("Accept", dtmfRelay+", "+dtmfPlain))
	}
}

// bodyType is the media type of a message's body, in lower case and without
// parameters; "" where it cannot be read.
func bodyType(m interface {
	ContentType() *sipgo.ContentTypeHeader
}) string {
	ct := m.ContentType()
	if ct == nil {
		return ""
	}
	media, _, err := mime.ParseMediaType(string(*ct))
	if err != nil && media == "" {
		return ""
	}
	return media
}

// isOptional tells whether a body may be passed over (RFC 3261 §20.11).
func isOptional(m sipgo.Message) bool {
	_, params, _ := sipwire.ParseValue(sipwire.Header(m, "Content-Disposition"))
	handling, _ := sipwire.Param(params, "handling")
	return handling == "optional"
}
