package dialoginfo

import (
	"errors"
	"slices"

	"github.com/hoorn-phone/hoorn/internal/xmldoc"
)

// Errors of State.Apply, to test for with errors.Is.
var (
	// ErrGap: a document is missing, so that what is known is not the truth.
	// The subscription is to be refreshed, which brings a full document.
	ErrGap = errors.New("dialoginfo: a document is missing")
	// ErrOld: the document is older than what is known, and says nothing.
	ErrOld = errors.New("dialoginfo: the document is old")
	// ErrEntity: the document is about somebody else.
	ErrEntity = errors.New("dialoginfo: the document is about another entity")
	// ErrFull: there are more dialogs than MaxDialogs; the rest are left out.
	ErrFull = errors.New("dialoginfo: too many dialogs")
)

// State puts the documents of one subscription together (RFC 4235 §4.3). The
// zero value knows nothing and waits for a full document. A new subscription,
// which counts versions anew, gets a new State, or a Reset one.
type State struct {
	// Entity is whose dialogs they are; set before the first document, only
	// those about it are taken, else it is that of the first.
	Entity string

	versions xmldoc.Versions
	dialogs  []Dialog
}

// Apply takes a document. After an error nothing has changed, but that ErrGap stands
// until a full document has come, and ErrFull tells of what was left out.
func (s *State) Apply(d *Document) error {
	if s.Entity != "" && d.Entity != s.Entity {
		return ErrEntity
	}
	switch s.versions.Take(d.Version, d.Full) {
	case xmldoc.Old:
		return ErrOld
	case xmldoc.Gap:
		return ErrGap
	}
	s.Entity = d.Entity
	if d.Full {
		s.dialogs = nil
	}
	var err error
	for _, dialog := range d.Dialogs {
		i := slices.IndexFunc(s.dialogs, func(x Dialog) bool { return x.ID == dialog.ID })
		switch {
		case dialog.State == Terminated && i >= 0:
			s.dialogs = slices.Delete(s.dialogs, i, i+1)
		case dialog.State == Terminated:
		case i >= 0:
			s.dialogs[i] = dialog
		case len(s.dialogs) >= MaxDialogs:
			err = ErrFull
		default:
			s.dialogs = append(s.dialogs, dialog)
		}
	}
	return err
}

// Complete tells whether Dialogs are all there are: a full document came, and
// none was missed since.
func (s *State) Complete() bool { return s.versions.Complete() }

// Dialogs are those there are, in the order in which they came.
func (s *State) Dialogs() []Dialog { return slices.Clone(s.dialogs) }

// Reset forgets everything but Entity, for a new subscription.
func (s *State) Reset() { *s = State{Entity: s.Entity} }
