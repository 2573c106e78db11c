package confinfo

import (
	"errors"
	"slices"

	"github.com/hoorn-phone/hoorn/internal/xmldoc"
)

// Errors of State.Apply, to test for with errors.Is.
var (
	// ErrGap: a document is missing, so that what is known is not the truth.
	// The subscription is to be refreshed, which brings a full document
	// (RFC 4575 §4.6).
	ErrGap = errors.New("confinfo: a document is missing")
	// ErrOld: the document is older than what is known, and says nothing.
	ErrOld = errors.New("confinfo: the document is old")
	// ErrEntity: the document is about another conference.
	ErrEntity = errors.New("confinfo: the document is about another conference")
	// ErrFull: there are more users than MaxUsers, or more of theirs than is
	// kept; the rest are left out.
	ErrFull = errors.New("confinfo: too many users")
)

// State puts the documents of one subscription together (RFC 4575 §4.6). The
// zero value knows nothing and waits for a full document. A new subscription,
// which counts versions anew, gets a new State, or a Reset one.
type State struct {
	// Entity is the conference; set before the first document, only those
	// about it are taken, else it is that of the first.
	Entity string

	versions    xmldoc.Versions
	over        bool
	description Description
	status      Status
	users       []User
}

// Apply takes a document. After an error nothing has changed, but that ErrGap
// stands until a full document has come, and ErrFull tells of what was left out.
func (s *State) Apply(d *Document) error {
	if s.Entity != "" && d.Entity != s.Entity {
		return ErrEntity
	}
	switch s.versions.Take(d.Version, d.Part != Partial) {
	case xmldoc.Old:
		return ErrOld
	case xmldoc.Gap:
		return ErrGap
	}
	if d.Part != Partial {
		*s = State{versions: s.versions}
	}
	s.Entity, s.over = d.Entity, d.Part == Deleted
	if d.Description != nil {
		s.description = *d.Description
	}
	if x := d.Status; x != nil {
		// Of a partial document, what is not said has not changed.
		replace(&s.status.UserCount, x.UserCount)
		replace(&s.status.Active, x.Active)
		replace(&s.status.Locked, x.Locked)
	}
	if d.Users == nil {
		return nil
	}
	if d.Users.Part != Partial {
		s.users = nil
	}
	var err error
	for _, u := range d.Users.User {
		if !merge(&s.users, u, MaxUsers, func(u *User) (string, Part) { return u.Entity, u.Part }, (*User).update) {
			err = ErrFull
		}
	}
	return err
}

// merge takes an element into a list: it replaces the one of its name, changes
// it, or takes it out (RFC 4575 §4.6). False: there is no room.
func merge[T any](list *[]T, x T, most int, name func(*T) (string, Part), update func(old *T, x T) bool) bool {
	id, part := name(&x)
	i := slices.IndexFunc(*list, func(o T) bool { n, _ := name(&o); return n == id })
	switch {
	case part == Deleted && i >= 0:
		*list = slices.Delete(slices.Clone(*list), i, i+1)
	case part == Deleted:
	case i >= 0:
		*list = slices.Clone(*list)
		if part != Partial {
			var none T
			(*list)[i] = none
		}
		return update(&(*list)[i], x)
	case len(*list) >= most:
		return false
	default:
		var none T
		ok := update(&none, x)
		*list = append(slices.Clip(*list), none)
		return ok
	}
	return true
}

// update takes what is said of a user.
func (u *User) update(x User) bool {
	u.Entity, u.Part = x.Entity, Full
	replaceText(&u.DisplayText, x.DisplayText)
	if len(x.AORs) > 0 {
		u.AORs = x.AORs
	}
	if len(x.Roles) > 0 {
		u.Roles = x.Roles
	}
	ok := true
	for _, e := range x.Endpoints {
		ok = merge(&u.Endpoints, e, MaxEndpoints, func(e *Endpoint) (string, Part) { return e.Entity, e.Part }, (*Endpoint).update) && ok
	}
	return ok
}

// update takes what is said of an endpoint.
func (e *Endpoint) update(x Endpoint) bool {
	e.Entity, e.Part = x.Entity, Full
	replaceText(&e.DisplayText, x.DisplayText)
	replaceText(&e.Status, x.Status)
	replaceText(&e.Joining, x.Joining)
	replaceText(&e.Leaving, x.Leaving)
	replace(&e.Referred, x.Referred)
	replace(&e.Joined, x.Joined)
	replace(&e.Left, x.Left)
	replace(&e.Call, x.Call)
	ok := true
	for _, m := range x.Media {
		ok = merge(&e.Media, m, MaxMedia, func(m *Media) (string, Part) { return m.ID, Full },
			func(old *Media, m Media) bool { *old = m; return true }) && ok
	}
	return ok
}

func replace[T any](old **T, x *T) {
	if x != nil {
		*old = x
	}
}

func replaceText[T ~string](old *T, x T) {
	if x != "" {
		*old = x
	}
}

// Complete tells whether what is known is the truth: a full document came, and
// none was missed since.
func (s *State) Complete() bool { return s.versions.Complete() }

// Over tells whether the conference has ended.
func (s *State) Over() bool { return s.over }

// Description is what the conference is about.
func (s *State) Description() Description { return s.description }

// Status is the state of the whole conference.
func (s *State) Status() Status { return s.status }

// Users are those who take part, in the order in which they came.
func (s *State) Users() []User { return slices.Clone(s.users) }

// Reset forgets everything but Entity, for a new subscription.
func (s *State) Reset() { *s = State{Entity: s.Entity} }
