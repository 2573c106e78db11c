package callpull

import (
	"context"
	"time"

	"github.com/hoorn-phone/hoorn/sip"
)

// parting is how long the far end, or the server, may take to end the call here
// once it has it elsewhere.
const parting = 5 * time.Second

// Push hands a call over to another device of the user's, named by its GRUU
// (RFC 5627, [sip.UA.Devices]): the device is asked to call the far end and to take this call's
// place (REFER with Replaces, RFC 3515, RFC 3891). It returns when that is so
// and the call has ended here.
//
// The errors are ErrForbidden and ErrGone where the far end or the device
// refuses so, else those of [sip.Transfer.Wait]; the call then goes on here.
// sip.ErrState: it is not established.
func (w *Watcher) Push(ctx context.Context, call *sip.Call, device string) error {
	if call.State() != sip.CallEstablished {
		return sip.ErrState
	}
	dialog := call.Dialog()
	t, err := w.ua.Refer(ctx, device, call.Remote().URI, &sip.ReferOptions{Replaces: &dialog})
	if err != nil {
		return err
	}
	if err := t.Wait(ctx); err != nil {
		return explain(err, replaced)
	}
	// Whoever took the call away says BYE. One who does not has forgotten it.
	gone, cancel := context.WithTimeout(ctx, parting)
	defer cancel()
	if err := call.Wait(gone); gone.Err() == nil {
		return err
	}
	return call.Hangup(ctx)
}
