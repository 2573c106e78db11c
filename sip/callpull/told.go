package callpull

import (
	"time"

	"github.com/hoorn-phone/hoorn/sip"
	"github.com/hoorn-phone/hoorn/sip/dialoginfo"
)

// told is what one notifier has said.
type told struct {
	state dialoginfo.State
	known map[string]known // by the dialog's id: those in state, and no others
}

// known is what was said of a dialog, be it in an earlier document.
type known struct {
	since  time.Time
	dialog sip.Dialog
	// forked: several early dialogs have come under one id, so that it is not
	// known whose tag the one that is answered has. A notifier should tell them
	// apart (RFC 4235 §3.7.1).
	forked bool
}

// keep takes from a document, which state has taken, what later ones may leave
// out.
func (t *told) keep(doc *dialoginfo.Document, now time.Time) {
	former := t.known
	t.known = make(map[string]known)
	for _, d := range t.state.Dialogs() {
		t.known[d.ID] = former[d.ID].with(&d)
	}
	for _, d := range doc.Dialogs {
		if k, ok := t.known[d.ID]; ok && d.HasDuration {
			k.since = now.Add(-d.Duration)
			t.known[d.ID] = k
		}
	}
}

// with adds what is said of a dialog now. Its identifiers are optional (RFC 4235
// §4.1.1), and Kamailio 5.6 leaves the tags out once the call is answered: they
// are still those of the early dialog.
func (k known) with(d *dialoginfo.Dialog) known {
	said := sip.Dialog{CallID: d.CallID, LocalTag: d.LocalTag, RemoteTag: d.RemoteTag}
	if differ(said.CallID, k.dialog.CallID) {
		return known{dialog: said} // another call under the same id
	}
	switch {
	case d.State != dialoginfo.Confirmed:
		k.forked = k.forked || differ(said.LocalTag, k.dialog.LocalTag) || differ(said.RemoteTag, k.dialog.RemoteTag)
	case said.RemoteTag != "":
		k.forked = false
	}
	fill(&said.CallID, k.dialog.CallID)
	if !k.forked {
		fill(&said.LocalTag, k.dialog.LocalTag)
		fill(&said.RemoteTag, k.dialog.RemoteTag)
	}
	k.dialog = said
	return k
}

// differ: both are said, and are not the same.
func differ(a, b string) bool { return a != "" && b != "" && a != b }

func fill(said *string, before string) {
	if *said == "" {
		*said = before
	}
}
