// Package confinfo reads and writes documents of the conference event package
// (RFC 4575, application/conference-info+xml): who takes part in a conference,
// and how. It knows no user agent: what a subscription of package sip brings goes
// through [Parse] into a [State], which knows who is there. Package conference
// does that for the conferences that it makes.
package confinfo

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
	Package     = "conference"
	ContentType = "application/conference-info+xml"
)

const namespace = "urn:ietf:params:xml:ns:conference-info"

// Bounds of a document and of a State.
const (
	MaxUsers     = 1000
	MaxEndpoints = 16 // of a user
	MaxMedia     = 16 // of an endpoint
	maxEntries   = 32 // of roles and URIs
)

// Part says what a document, a list or an element of one has (RFC 4575 §4.4).
type Part string

// The parts. "" is Full, which is the default (RFC 4575 §5.1).
const (
	Full    Part = "full"
	Partial Part = "partial"
	Deleted Part = "deleted"
)

// Document is a conference-info document (RFC 4575 §5.2). Of a partial one, what is nil or
// empty has not changed.
type Document struct {
	Entity  string // the conference's URI
	Part    Part   // Full, Partial, or Deleted: the conference is over
	Version uint32

	Description *Description
	Status      *Status
	Users       *Users
}

// Description is what a conference is about (RFC 4575 §5.3).
type Description struct {
	DisplayText, Subject, FreeText string
	URIs                           []Entry // further URIs of the conference
	MaxUsers                       int     // 0: unsaid
}

// Entry is a URI with what is said of it.
type Entry struct{ URI, DisplayText, Purpose string }

// Status is the state of the whole conference (RFC 4575 §5.5). A nil is unsaid.
type Status struct {
	UserCount      *int
	Active, Locked *bool
}

// Users are those who take part (RFC 4575 §5.6).
type Users struct {
	Part Part // Full: all there are
	User []User
}

// User is somebody who takes part (RFC 4575 §5.6). "" and nil are what was not
// said; in a partial one they have not changed.
type User struct {
	Entity      string // his URI: tells users apart
	Part        Part
	DisplayText string
	AORs        []Entry // associated-aors
	Roles       []string
	Endpoints   []Endpoint
}

// Endpoint is one device with which a user takes part (RFC 4575 §5.7).
type Endpoint struct {
	Entity      string // its URI, such as a GRUU: tells the endpoints of a user apart
	Part        Part
	DisplayText string
	Referred    *Action // who brought it in
	Status      EndpointStatus
	Joining     string // joining-method: "dialed-in", "dialed-out", "focus-owner"
	Joined      *Action
	Leaving     string // disconnection-method: "departed", "booted", "failed", "busy"
	Left        *Action
	Media       []Media
	Call        *DialogID // call-info
}

// EndpointStatus is where an endpoint stands (RFC 4575 §5.7.3).
type EndpointStatus string

// The states of an endpoint.
const (
	Pending       EndpointStatus = "pending"
	DialingOut    EndpointStatus = "dialing-out"
	DialingIn     EndpointStatus = "dialing-in"
	Alerting      EndpointStatus = "alerting"
	OnHold        EndpointStatus = "on-hold"
	Connected     EndpointStatus = "connected"
	MutedViaFocus EndpointStatus = "muted-via-focus"
	Disconnecting EndpointStatus = "disconnecting"
	Disconnected  EndpointStatus = "disconnected"
)

// Action is when, why and by whom something was done (RFC 4575 §5.7.2).
type Action struct {
	When   time.Time // zero: unsaid
	Reason string
	By     string // a URI
}

// Media is a stream of an endpoint (RFC 4575 §5.8).
type Media struct {
	ID          string // tells the streams of an endpoint apart
	DisplayText string
	Type        string // "audio", "video", …
	Label       string
	SrcID       string // the SSRC
	Status      string // "sendrecv", "sendonly", "recvonly", "inactive"; "" is sendrecv
}

// DialogID are the identifiers of an endpoint's dialog with the focus.
type DialogID struct{ CallID, FromTag, ToTag string }

// Error says why a document was refused.
type Error struct{ Err error }

func (e *Error) Error() string { return "confinfo: " + e.Err.Error() }

// Unwrap is why.
func (e *Error) Unwrap() error { return e.Err }

type (
	xmlDocument struct {
		Entity      string          `xml:"entity,attr"`
		State       string          `xml:"state,attr"`
		Version     string          `xml:"version,attr"`
		Description *xmlDescription `xml:"conference-description"`
		Status      *xmlStatus      `xml:"conference-state"`
		Users       *xmlUsers       `xml:"users"`
	}
	xmlDescription struct {
		DisplayText string     `xml:"display-text"`
		Subject     string     `xml:"subject"`
		FreeText    string     `xml:"free-text"`
		URIs        []xmlEntry `xml:"conf-uris>entry"`
		MaxUsers    string     `xml:"maximum-user-count"`
	}
	xmlEntry struct {
		URI         string `xml:"uri"`
		DisplayText string `xml:"display-text"`
		Purpose     string `xml:"purpose"`
	}
	xmlStatus struct {
		UserCount string `xml:"user-count"`
		Active    string `xml:"active"`
		Locked    string `xml:"locked"`
	}
	xmlUsers struct {
		State string    `xml:"state,attr"`
		User  []xmlUser `xml:"user"`
	}
	xmlUser struct {
		Entity      string        `xml:"entity,attr"`
		State       string        `xml:"state,attr"`
		DisplayText string        `xml:"display-text"`
		AORs        []xmlEntry    `xml:"associated-aors>entry"`
		Roles       []string      `xml:"roles>entry"`
		Endpoints   []xmlEndpoint `xml:"endpoint"`
	}
	xmlEndpoint struct {
		Entity      string     `xml:"entity,attr"`
		State       string     `xml:"state,attr"`
		DisplayText string     `xml:"display-text"`
		Referred    *xmlAction `xml:"referred"`
		Status      string     `xml:"status"`
		Joining     string     `xml:"joining-method"`
		Joined      *xmlAction `xml:"joining-info"`
		Leaving     string     `xml:"disconnection-method"`
		Left        *xmlAction `xml:"disconnection-info"`
		Media       []xmlMedia `xml:"media"`
		Call        *struct {
			CallID  string `xml:"call-id"`
			FromTag string `xml:"from-tag"`
			ToTag   string `xml:"to-tag"`
		} `xml:"call-info>sip"`
	}
	xmlAction struct {
		When   string `xml:"when"`
		Reason string `xml:"reason"`
		By     string `xml:"by"`
	}
	xmlMedia struct {
		ID          string `xml:"id,attr"`
		DisplayText string `xml:"display-text"`
		Type        string `xml:"type"`
		Label       string `xml:"label"`
		SrcID       string `xml:"src-id"`
		Status      string `xml:"status"`
	}
)

// Parse reads a document: at most 256 KB, MaxUsers users, MaxEndpoints
// endpoints of each and MaxMedia streams of these, without a DTD. The error is an
// *Error. Unknown elements are passed over (RFC 4575 §5.1).
func Parse(body []byte) (*Document, error) {
	var x xmlDocument
	if err := xmldoc.Decode(body, namespace, "conference-info", &x); err != nil {
		return nil, &Error{err}
	}
	d, err := x.document()
	if err != nil {
		return nil, &Error{err}
	}
	return d, nil
}

func (x *xmlDocument) document() (*Document, error) {
	d := &Document{Entity: strings.TrimSpace(x.Entity)}
	var err error
	if d.Part, err = part(x.State); err != nil {
		return nil, err
	}
	if d.Entity == "" {
		return nil, errors.New("no entity")
	}
	// "version: This attribute allows the recipient [...] to properly order them"
	// (RFC 4575 §5.2): what is to be put together needs one.
	if v, err := strconv.ParseUint(strings.TrimSpace(x.Version), 10, 32); err == nil {
		d.Version = uint32(v)
	} else if x.Version != "" || d.Part == Partial {
		return nil, fmt.Errorf("version %q", x.Version)
	}
	if c := x.Description; c != nil {
		d.Description = &Description{
			DisplayText: text(c.DisplayText), Subject: text(c.Subject), FreeText: text(c.FreeText),
			URIs: entries(c.URIs), MaxUsers: max(number(c.MaxUsers), 0),
		}
	}
	if s := x.Status; s != nil {
		d.Status = &Status{Active: boolean(s.Active), Locked: boolean(s.Locked)}
		if n := number(s.UserCount); n >= 0 {
			d.Status.UserCount = &n
		}
	}
	if x.Users == nil {
		return d, nil
	}
	if len(x.Users.User) > MaxUsers {
		return nil, xmldoc.ErrSize
	}
	d.Users = &Users{}
	if d.Users.Part, err = part(x.Users.State); err != nil {
		return nil, err
	}
	for i := range x.Users.User {
		u, err := x.Users.User[i].user()
		if err != nil {
			return nil, err
		}
		d.Users.User = append(d.Users.User, u)
	}
	return d, nil
}

func (x *xmlUser) user() (u User, err error) {
	u = User{Entity: text(x.Entity), DisplayText: text(x.DisplayText), AORs: entries(x.AORs)}
	if u.Entity == "" {
		return u, errors.New("a user without entity")
	}
	if u.Part, err = part(x.State); err != nil {
		return u, err
	}
	for _, r := range x.Roles[:min(len(x.Roles), maxEntries)] {
		if r = text(r); r != "" {
			u.Roles = append(u.Roles, r)
		}
	}
	if len(x.Endpoints) > MaxEndpoints {
		return u, xmldoc.ErrSize
	}
	for i := range x.Endpoints {
		e, err := x.Endpoints[i].endpoint()
		if err != nil {
			return u, err
		}
		u.Endpoints = append(u.Endpoints, e)
	}
	return u, nil
}

func (x *xmlEndpoint) endpoint() (e Endpoint, err error) {
	e = Endpoint{
		Entity: text(x.Entity), DisplayText: text(x.DisplayText), Status: EndpointStatus(text(x.Status)),
		Joining: text(x.Joining), Leaving: text(x.Leaving),
		Referred: x.Referred.action(), Joined: x.Joined.action(), Left: x.Left.action(),
	}
	if e.Part, err = part(x.State); err != nil {
		return e, err
	}
	switch e.Status {
	case "", Pending, DialingOut, DialingIn, Alerting, OnHold, Connected, MutedViaFocus, Disconnecting, Disconnected:
	default:
		return e, fmt.Errorf("endpoint status %q", e.Status)
	}
	if c := x.Call; c != nil {
		e.Call = &DialogID{text(c.CallID), text(c.FromTag), text(c.ToTag)}
	}
	if len(x.Media) > MaxMedia {
		return e, xmldoc.ErrSize
	}
	for _, m := range x.Media {
		e.Media = append(e.Media, Media{
			ID: text(m.ID), DisplayText: text(m.DisplayText), Type: text(m.Type), Label: text(m.Label), SrcID: text(m.SrcID), Status: text(m.Status),
		})
	}
	return e, nil
}

func (x *xmlAction) action() *Action {
	if x == nil {
		return nil
	}
	a := &Action{Reason: text(x.Reason), By: text(x.By)}
	if t, err := time.Parse(time.RFC3339, text(x.When)); err == nil {
		a.When = t
	}
	return a
}

func part(s string) (Part, error) {
	switch p := Part(strings.TrimSpace(s)); p {
	case "":
		return Full, nil
	case Full, Partial, Deleted:
		return p, nil
	}
	return "", fmt.Errorf("state %q", s)
}

func entries(xs []xmlEntry) []Entry {
	var es []Entry
	for _, x := range xs[:min(len(xs), maxEntries)] {
		es = append(es, Entry{text(x.URI), text(x.DisplayText), text(x.Purpose)})
	}
	return es
}

func text(s string) string { return strings.TrimSpace(s) }

// number is -1 for what is none.
func number(s string) int {
	n, err := strconv.ParseUint(text(s), 10, 31)
	if err != nil {
		return -1
	}
	return int(n)
}

func boolean(s string) *bool {
	var v bool
	switch text(s) {
	case "true", "1":
		v = true
	case "false", "0":
	default:
		return nil
	}
	return &v
}
