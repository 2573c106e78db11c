package sip

import (
	"time"

	sipgo "github.com/emiago/sipgo/sip"

	"github.com/hoorn-phone/hoorn/internal/sipwire"
	"github.com/hoorn-phone/hoorn/internal/transaction"
)

// Joins is the call that an incoming one wants to join (RFC 3911), nil for
// others. To answer it is to let the caller in, by mixing the two; Reject with
// 488 (Not Acceptable Here) says that there is nobody to mix (§4).
func (c *Call) Joins() *Call { return c.joins }

// joining finds the call that an INVITE wants to join, nil where it has no Join.
// False: it was refused.
//
// "Unlike the Replaces header, the Join header has no limitation on its use
// with early dialogs" (RFC 3911 §4).
func (ua *UA) joining(now time.Time, s *transaction.Server) (*Call, bool) {
	values := headerValues(s.Request(), "Join")
	if len(values) == 0 {
		return nil, true
	}
	ref, err := sipwire.ParseJoin(values[0])
	if err != nil || len(values) > 1 {
		ua.respond(now, s, sipgo.StatusBadRequest)
		return nil, false
	}
	set, _, status := ua.pointed(now, ref)
	if status == 0 && !ua.mayReplace(s, set.c, true) {
		status = sipgo.StatusForbidden
	}
	if status != 0 {
		ua.respond(now, s, status)
		return nil, false
	}
	return set.c, true
}
