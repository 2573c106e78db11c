package xmldoc

// Versions follows the versions of the documents of one subscription: full
// ones, and partial ones that say what has changed since the one before
// (RFC 4235 §4.3, RFC 4575 §4.6). The zero value waits for a full one.
type Versions struct {
	known, gap bool
	latest     uint32
}

// Turn is what a document is in the order of all.
type Turn int

// The turns.
const (
	Next Turn = iota // it is to be applied
	Old              // what it says is known, or outdated
	Gap              // one is missing before it; only a full one mends that
)

// Take notes a document.
func (v *Versions) Take(version uint32, full bool) Turn {
	switch {
	case v.known && version <= v.latest:
		// Also a full one: a notifier that has restarted makes a new
		// subscription.
		return Old
	case !full && (!v.known || v.gap || version != v.latest+1):
		v.gap = true
		return Gap
	}
	*v = Versions{known: true, latest: version}
	return Next
}

// Complete tells whether a full document came, and none was missed since.
func (v *Versions) Complete() bool { return v.known && !v.gap }
