package siptest

import (
	"bytes"
	"cmp"
	"maps"
	"slices"
	"time"

	sipgo "github.com/emiago/sipgo/sip"

	"github.com/hoorn-phone/hoorn/internal/call"
	"github.com/hoorn-phone/hoorn/internal/sipwire"
	"github.com/hoorn-phone/hoorn/internal/subscribe"
	"github.com/hoorn-phone/hoorn/sip/dialoginfo"
)

// The dialog event package (RFC 4235): a user's calls, as his devices know
// their dialogs. Replaces with what is told here names a leg of the lab, which
// is how another device of his takes the call.

func init() {
	eventPackages[dialoginfo.Package] = eventPackage{
		types: []string{dialoginfo.ContentType},
		may:   sameGroup,
		source: func(l *life, u *User) source {
			return &dialogSource{l: l, user: u, since: make(map[*leg]time.Time), told: make(map[*subscribe.Watcher]map[string]dialoginfo.Dialog)}
		},
	}
}

// dialogSource tells the dialogs of one user.
type dialogSource struct {
	l     *life
	user  *User
	since map[*leg]time.Time // when legs were answered
	told  map[*subscribe.Watcher]map[string]dialoginfo.Dialog
}

func (d *dialogSource) Authorize(time.Time, *sipgo.Request) int { return sipgo.StatusOK }

func (d *dialogSource) Left(_ time.Time, w *subscribe.Watcher, _ error) {
	delete(d.told, w)
	d.l.forgetWatched(dialoginfo.Package, d.user)
}

// news tells whether some subscriber was told something else last.
func (d *dialogSource) news(now time.Time) bool {
	dialogs := d.dialogs(now)
	for _, told := range d.told {
		if len(told) != len(dialogs) {
			return true
		}
		for _, dialog := range dialogs {
			if before, there := told[dialog.ID]; !there || changed(before, dialog) {
				return true
			}
		}
	}
	return false
}

// State is all dialogs, or those that have changed since this subscriber was
// told last (RFC 4235 §3.8, §4.1).
func (d *dialogSource) State(now time.Time, w *subscribe.Watcher, full bool) (string, []byte) {
	uri := d.user.aor(d.l.cfg.Domain)
	doc := dialoginfo.Document{Entity: sipwire.FormatURI(&uri), Version: w.Version(), Full: full}
	before := d.told[w]
	told := make(map[string]dialoginfo.Dialog)
	for _, dialog := range d.dialogs(now) {
		told[dialog.ID] = dialog
		if full || changed(before[dialog.ID], dialog) {
			doc.Dialogs = append(doc.Dialogs, dialog)
		}
	}
	if !full {
		for _, id := range slices.Sorted(maps.Keys(before)) {
			if _, there := told[id]; !there {
				gone := before[id]
				gone.State, gone.HasDuration = dialoginfo.Terminated, false
				doc.Dialogs = append(doc.Dialogs, gone)
			}
		}
	}
	d.told[w] = told
	return dialoginfo.ContentType, doc.Bytes()
}

// changed compares dialogs but for the time they last.
func changed(a, b dialoginfo.Dialog) bool {
	return a.State != b.State || a.LocalTag != b.LocalTag || a.RemoteTag != b.RemoteTag ||
		a.Local.Target != b.Local.Target || a.Local.Held() != b.Local.Held() || a.Remote.Identity() != b.Remote.Identity()
}

// dialogs are those of the user's devices with the lab, the oldest first.
func (d *dialogSource) dialogs(now time.Time) []dialoginfo.Dialog {
	var all []dialoginfo.Dialog
	alive := make(map[*leg]time.Time)
	for _, g := range d.l.legs {
		if g.user() != d.user || g.m.State() == call.Ended {
			continue
		}
		if s := g.m.State(); s == call.Established || s == call.Answering {
			alive[g] = now
			if t, ok := d.since[g]; ok {
				alive[g] = t
			}
		}
		dialog := g.dialog(d.l.cfg.Domain)
		if t, ok := alive[g]; ok {
			dialog.Duration, dialog.HasDuration = now.Sub(t), true
		}
		all = append(all, dialog)
	}
	d.since = alive
	slices.SortFunc(all, func(a, b dialoginfo.Dialog) int {
		return cmp.Or(cmp.Compare(b.Duration, a.Duration), cmp.Compare(a.ID, b.ID))
	})
	return all
}

// user is whose device the leg is with, nil where nobody knows.
func (g *leg) user() *User {
	if e, ok := g.owner.(*end); ok && e.user != nil {
		return e.user
	}
	if g.at != nil {
		return g.at.user
	}
	return nil
}

// dialog is the leg as its device sees it: what is local to the lab is remote
// there.
func (g *leg) dialog(domain string) dialoginfo.Dialog {
	d := dialoginfo.Dialog{
		ID: g.m.ID() + ";" + g.m.LocalTag(), CallID: g.m.ID(), LocalTag: g.m.RemoteTag(), RemoteTag: g.m.LocalTag(),
		Direction: dialoginfo.Recipient, State: stateOfDialog(g.m.State()),
	}
	if !g.m.Outgoing() { // the lab was called: the device has made it
		d.Direction = dialoginfo.Initiator
	}
	u := g.user()
	uri := u.aor(domain)
	d.Local.Identities = []dialoginfo.Identity{{URI: sipwire.FormatURI(&uri), Display: u.DisplayName}}
	if g.at != nil {
		d.Local.Target = g.at.target(u, domain)
	}
	if e, ok := g.owner.(*end); ok {
		if heard, _ := e.side.latest(); holds(heard) {
			// RFC 4235 §4.1.6, RFC 4235 §5.2: the device renders nothing.
			d.Local.Params = []dialoginfo.Param{{Name: "+sip.rendering", Value: "no"}}
		}
	}
	if who := g.partner(domain); who.URI != "" {
		d.Remote.Identities = []dialoginfo.Identity{who}
	}
	return d
}

// stateOfDialog is RFC 4235 §3.7.1's word for a state of the lab's leg.
func stateOfDialog(s call.State) dialoginfo.DialogState {
	switch s {
	case call.Calling:
		return dialoginfo.Trying
	case call.Incoming:
		return dialoginfo.Proceeding
	case call.Ringing:
		return dialoginfo.Early
	case call.Answering, call.Established:
		return dialoginfo.Confirmed
	}
	return dialoginfo.Terminated
}

// holds tells whether a description has the other side on hold (RFC 6337 §5.3).
func holds(sdp []byte) bool {
	return bytes.Contains(sdp, []byte("a=sendonly")) || bytes.Contains(sdp, []byte("a=inactive"))
}

// partner is with whom the device talks: the user at the other end, if his
// number may be shown, or what was dialled.
func (g *leg) partner(domain string) dialoginfo.Identity {
	if e, ok := g.owner.(*end); ok && e.b != nil {
		o := e.b.partner(e)
		switch {
		case o != nil && o.private:
			return dialoginfo.Identity{URI: "sip:anonymous@anonymous.invalid", Display: "Anonymous"}
		case o != nil && o.user != nil:
			uri := o.user.uri(domain)
			return dialoginfo.Identity{URI: sipwire.FormatURI(&uri), Display: o.user.DisplayName}
		}
	}
	if e, ok := g.owner.(*end); ok && e.b != nil && e.b.box != nil {
		uri := e.b.box.uri(domain)
		return dialoginfo.Identity{URI: sipwire.FormatURI(&uri), Display: e.b.box.DisplayName}
	}
	if e, ok := g.owner.(*end); ok && e.conference() != nil {
		uri := e.conference().uri()
		return dialoginfo.Identity{URI: sipwire.FormatURI(&uri)}
	}
	if to := g.m.Invite().To(); to != nil && !g.m.Outgoing() {
		return dialoginfo.Identity{URI: sipwire.FormatURI(&to.Address), Display: to.DisplayName}
	}
	return dialoginfo.Identity{}
}

// target is where a device is to be found by others of its user: its public
// GRUU where the lab gives them (RFC 5627), else its Contact.
func (b *binding) target(u *User, domain string) string {
	if b.instance != "" {
		uri := u.aor(domain)
		uri.UriParams = sipgo.HeaderParams{{K: "gr", V: b.instance}}
		return sipwire.FormatURI(&uri)
	}
	return sipwire.FormatURI(&b.contact)
}

// aor is the user's address of record.
func (u *User) aor(domain string) sipgo.Uri {
	return sipgo.Uri{Scheme: "sip", User: u.Name, Host: domain}
}
