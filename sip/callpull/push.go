package callpull

import (
	"context"
	"errors"
	"fmt"
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
// The errors are ErrNoDevice, ErrDeclined, ErrForbidden, ErrGone, or those of
// [sip.Transfer.Wait]; the call then goes on here. Where it is the context that
// ends first, the device may still take the call later. sip.ErrState: the call is
// not established.
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
		return pushed(err, call)
	}
	// Whoever took the call away says BYE. One who does not has forgotten it.
	gone, cancel := context.WithTimeout(ctx, parting)
	defer cancel()
	if err := call.Wait(gone); gone.Err() == nil {
		return err
	}
	return call.Hangup(ctx)
}

// referred is what the device's answer to REFER means.
var referred = map[int]error{
	403: ErrForbidden, 404: ErrNoDevice, 408: ErrNoDevice, 410: ErrNoDevice, 430: ErrNoDevice, 480: ErrNoDevice,
	486: ErrDeclined, 600: ErrDeclined, 603: ErrDeclined,
}

// pushed says what a failure means.
func pushed(err error, call *sip.Call) error {
	var status *sip.StatusError
	var timeout *sip.TimeoutError
	switch {
	case errors.As(err, &timeout), errors.Is(err, sip.ErrNoNotify):
		return fmt.Errorf("%w: %w", ErrNoDevice, err)
	case !errors.As(err, &status):
		return err
	case status.Method == "REFER":
		return explain(err, referred)
	case call.State() != sip.CallEstablished:
		return explain(err, replaced)
	case status.Code == 603:
		// It is not over, as 603 would have it (RFC 3891 §3): the device's user
		// was asked first.
		return fmt.Errorf("%w: %w", ErrDeclined, err)
	case status.Code == 403:
		return fmt.Errorf("%w: %w", ErrForbidden, err)
	}
	return err
}
