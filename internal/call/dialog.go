package call

import (
	"slices"

	sipgo "github.com/emiago/sipgo/sip"
)

// Dialog is a dialog of a call as others name it (RFC 3261 §12): what a
// Replaces header points at (RFC 3891 §3).
type Dialog struct {
	CallID    string
	LocalTag  string
	RemoteTag string
	// Confirmed says that there is a 2xx; the dialog is an early one before.
	Confirmed bool
	// Initiated says that its INVITE is ours. "If the Replaces header field
	// matches an early dialog that was not initiated by this UA, it returns a
	// 481" (RFC 3891 §3).
	Initiated bool
}

// Dialog is the dialog that is the call: of a call that came from its
// beginning, of one of ours once it is answered. ok is false before.
func (c *Call) Dialog() (d Dialog, ok bool) {
	if c.active == nil {
		return Dialog{}, false
	}
	return c.active.dialog(), true
}

// Dialogs are the call's dialogs: the early ones of an INVITE of ours, of
// which each fork makes one, and then the one that is the call.
func (c *Call) Dialogs() []Dialog {
	if c.active != nil {
		return []Dialog{c.active.dialog()}
	}
	ds := make([]Dialog, len(c.legs))
	for i, l := range c.legs {
		ds[i] = l.dialog()
	}
	return ds
}

// DialogWith finds a dialog of the call by the peer's tag in it.
func (c *Call) DialogWith(remoteTag string) (d Dialog, ok bool) {
	ds := c.Dialogs()
	if i := slices.IndexFunc(ds, func(d Dialog) bool { return d.RemoteTag == remoteTag }); i >= 0 {
		return ds[i], true
	}
	return Dialog{}, false
}

func (l *leg) dialog() Dialog {
	return Dialog{
		CallID: l.c.id, LocalTag: l.c.localTag, RemoteTag: l.remoteTag,
		Confirmed: l.confirmed, Initiated: l.c.out,
	}
}

// Target is where the peer of the call's dialog is reached: his Contact
// (RFC 3261 §12.1). ok is false before there is a dialog.
func (c *Call) Target() (uri sipgo.Uri, ok bool) {
	if c.active == nil {
		return sipgo.Uri{}, false
	}
	return *c.active.target.Clone(), true
}
