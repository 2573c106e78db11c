// Package dialoginfo reads and writes documents of the dialog event package
// (RFC 4235, application/dialog-info+xml): the calls of a user or a device, as
// lamps, pickup and call pull need them. It knows no user agent; with one, the
// calls of a user are
//
//	sub, err := ua.Subscribe(ctx, uri, &sip.SubscribeOptions{
//		Event: dialoginfo.Package, Accept: []string{dialoginfo.ContentType},
//	})
//	states := make(map[int]*dialoginfo.State) // each notifier numbers its documents by itself
//	for n := range sub.Notifications(ctx) {
//		doc, err := dialoginfo.Parse(n.Body)
//		…
//		if err := states[n.Notifier].Apply(doc); errors.Is(err, dialoginfo.ErrGap) {
//			err = sub.Refresh(ctx) // brings a full document
//		}
//		show(states[n.Notifier].Dialogs())
//	}
//
// Package callpull does all that for the calls of the user's other devices.
package dialoginfo

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/hoorn-phone/hoorn/internal/xmldoc"
)

// The event package and the type of its documents.
const (
	Package     = "dialog"
	ContentType = "application/dialog-info+xml"
)

const namespace = "urn:ietf:params:xml:ns:dialog-info"

// MaxDialogs bounds the dialogs of a document and of a State.
const MaxDialogs = 1000

// Document is a dialog-info document (RFC 4235 §4.1).
type Document struct {
	Entity  string // whose dialogs they are: a URI
	Version uint32 // one more with each document of a subscription (§4.3)
	// Full says that these are all dialogs there are; otherwise those that
	// have changed.
	Full    bool
	Dialogs []Dialog
}

// DialogState is where a dialog stands (RFC 4235 §3.7.1).
type DialogState string

// The states of a dialog.
const (
	Trying     DialogState = "trying"     // the INVITE is out, and nothing was said to it
	Proceeding DialogState = "proceeding" // a provisional response without a tag has come, or gone
	Early      DialogState = "early"      // one with a tag: mostly it rings
	Confirmed  DialogState = "confirmed"  // answered
	Terminated DialogState = "terminated" // over; it is told once
)

// The directions of a dialog: whether the entity has made it or not.
const (
	Initiator = "initiator"
	Recipient = "recipient"
)

// Dialog is a dialog of the entity (RFC 4235 §4.1.1). "" and nil are what was
// not said.
type Dialog struct {
	ID string // unique within the documents of a subscription
	// The dialog identifiers, as the entity sees them. Before there is an
	// answer there is no remote tag.
	CallID, LocalTag, RemoteTag string
	Direction                   string // Initiator, Recipient or ""

	State DialogState
	Event string // what made it so, such as "remote-bye" or "rejected" (§4.1.2)
	Code  int    // the response that did; 0 is none

	// Duration since the dialog began, if HasDuration (§4.1.3).
	Duration    time.Duration
	HasDuration bool

	Replaces   *DialogID // the dialog that this one took the place of (§4.1.4)
	ReferredBy *Identity // (§4.1.5)
	RouteSet   []string  // (§4.1.6)

	Local, Remote Participant
}

// DialogID are the identifiers of a dialog.
type DialogID struct{ CallID, LocalTag, RemoteTag string }

// Identity is a URI with a display name.
type Identity struct{ URI, Display string }

// Participant is one side of a dialog (RFC 4235 §4.1.6).
type Participant struct {
	Identities []Identity
	Target     string  // its Contact
	Params     []Param // of the target, such as {"+sip.rendering", "no"}
	// Description is a session description of type DescriptionType.
	Description, DescriptionType string
	CSeq                         string
}

// Param is a parameter of a target.
type Param struct{ Name, Value string }

// Param is the value of a parameter of the target, and whether it is there.
func (p *Participant) Param(name string) (string, bool) {
	for _, x := range p.Params {
		if strings.EqualFold(x.Name, name) {
			return x.Value, true
		}
	}
	return "", false
}

// Held tells whether this side renders no media, as when it has put the other on
// hold (sip.rendering, RFC 4235 §5.2).
func (p *Participant) Held() bool {
	for _, name := range []string{"+sip.rendering", "sip.rendering"} {
		if v, ok := p.Param(name); ok {
			return strings.EqualFold(strings.Trim(v, `"`), "no")
		}
	}
	return false
}

// Identity is the first identity; the zero value where there is none.
func (p *Participant) Identity() Identity {
	if len(p.Identities) == 0 {
		return Identity{}
	}
	return p.Identities[0]
}

// Error says why a document was refused.
type Error struct{ Err error }

func (e *Error) Error() string { return "dialoginfo: " + e.Err.Error() }

// Unwrap is why.
func (e *Error) Unwrap() error { return e.Err }

type xmlDocument struct {
	Entity  string      `xml:"entity,attr"`
	Version string      `xml:"version,attr"`
	State   string      `xml:"state,attr"`
	Dialogs []xmlDialog `xml:"dialog"`
}

type xmlDialog struct {
	ID        string `xml:"id,attr"`
	CallID    string `xml:"call-id,attr"`
	LocalTag  string `xml:"local-tag,attr"`
	RemoteTag string `xml:"remote-tag,attr"`
	Direction string `xml:"direction,attr"`
	State     struct {
		Value string `xml:",chardata"`
		Event string `xml:"event,attr"`
		Code  string `xml:"code,attr"`
	} `xml:"state"`
	Duration string `xml:"duration"`
	Replaces *struct {
		CallID    string `xml:"call-id,attr"`
		LocalTag  string `xml:"local-tag,attr"`
		RemoteTag string `xml:"remote-tag,attr"`
	} `xml:"replaces"`
	ReferredBy *xmlIdentity `xml:"referred-by"`
	Hops       []string     `xml:"route-set>hop"`
	Local      xmlSide      `xml:"local"`
	Remote     xmlSide      `xml:"remote"`
}

type xmlIdentity struct {
	URI     string `xml:",chardata"`
	Display string `xml:"display,attr"`
}

type xmlSide struct {
	Identities []xmlIdentity `xml:"identity"`
	Target     struct {
		URI    string `xml:"uri,attr"`
		Params []struct {
			Name  string `xml:"pname,attr"`
			Value string `xml:"pval,attr"`
		} `xml:"param"`
	} `xml:"target"`
	Description struct {
		Type string `xml:"type,attr"`
		Text string `xml:",chardata"`
	} `xml:"session-description"`
	CSeq string `xml:"cseq"`
}

// Parse reads a document: at most 256 KB and MaxDialogs dialogs, without a DTD. The
// error is an *Error. Unknown elements are passed over (RFC 4235 §4.1).
func Parse(body []byte) (*Document, error) {
	var x xmlDocument
	if err := xmldoc.Decode(body, namespace, "dialog-info", &x); err != nil {
		return nil, &Error{err}
	}
	version, err := strconv.ParseUint(strings.TrimSpace(x.Version), 10, 32)
	switch {
	case err != nil:
		return nil, &Error{fmt.Errorf("version %q", x.Version)}
	case x.State != "full" && x.State != "partial":
		return nil, &Error{fmt.Errorf("state %q", x.State)}
	case strings.TrimSpace(x.Entity) == "":
		return nil, &Error{errors.New("no entity")}
	case len(x.Dialogs) > MaxDialogs:
		return nil, &Error{xmldoc.ErrSize}
	}
	d := &Document{Entity: strings.TrimSpace(x.Entity), Version: uint32(version), Full: x.State == "full"}
	for i := range x.Dialogs {
		dialog, err := x.Dialogs[i].dialog()
		if err != nil {
			return nil, &Error{err}
		}
		d.Dialogs = append(d.Dialogs, dialog)
	}
	return d, nil
}

func (x *xmlDialog) dialog() (Dialog, error) {
	d := Dialog{
		ID: x.ID, CallID: x.CallID, LocalTag: x.LocalTag, RemoteTag: x.RemoteTag, Direction: x.Direction,
		// Kamailio 5.6 writes "Trying".
		State: DialogState(strings.ToLower(strings.TrimSpace(x.State.Value))), Event: x.State.Event,
		Local: x.Local.participant(), Remote: x.Remote.participant(),
	}
	if d.ID == "" {
		return d, errors.New("a dialog without id")
	}
	if d.Direction != Initiator && d.Direction != Recipient {
		d.Direction = ""
	}
	switch d.State {
	case Trying, Proceeding, Early, Confirmed, Terminated:
	default:
		return d, fmt.Errorf("dialog state %q", d.State)
	}
	if code, err := strconv.Atoi(x.State.Code); err == nil && code >= 100 && code <= 699 {
		d.Code = code
	}
	if s, err := strconv.ParseUint(strings.TrimSpace(x.Duration), 10, 32); err == nil {
		d.Duration, d.HasDuration = time.Duration(s)*time.Second, true
	}
	if r := x.Replaces; r != nil {
		d.Replaces = &DialogID{r.CallID, r.LocalTag, r.RemoteTag}
	}
	if r := x.ReferredBy; r != nil {
		d.ReferredBy = &Identity{strings.TrimSpace(r.URI), r.Display}
	}
	for _, hop := range x.Hops {
		if hop = strings.TrimSpace(hop); hop != "" {
			d.RouteSet = append(d.RouteSet, hop)
		}
	}
	return d, nil
}

func (x *xmlSide) participant() Participant {
	p := Participant{
		Target: strings.TrimSpace(x.Target.URI), CSeq: strings.TrimSpace(x.CSeq),
		Description: x.Description.Text, DescriptionType: x.Description.Type,
	}
	for _, id := range x.Identities {
		p.Identities = append(p.Identities, Identity{strings.TrimSpace(id.URI), id.Display})
	}
	for _, param := range x.Target.Params {
		p.Params = append(p.Params, Param{param.Name, param.Value})
	}
	return p
}
