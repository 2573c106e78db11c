package xmldoc

import "testing"

// RFC 4235 §4.3, RFC 4575 §4.6: versions go up by one; a full document may skip
// some.
func TestVersions(t *testing.T) {
	var v Versions
	for i, x := range []struct {
		version  uint32
		full     bool
		want     Turn
		complete bool
	}{
		{4, false, Gap, false}, // the first one has to be full
		{4, true, Next, true},
		{4, true, Old, true},
		{3, false, Old, true},
		{5, false, Next, true},
		{7, false, Gap, false},
		{6, false, Gap, false}, // what it changes is not known
		{5, true, Old, false},
		{9, true, Next, true},
		{10, false, Next, true},
		{1<<32 - 1, true, Next, true},
		{0, false, Old, true}, // a new subscription begins anew
	} {
		if got := v.Take(x.version, x.full); got != x.want || v.Complete() != x.complete {
			t.Errorf("step %d: %v, complete %v", i, got, v.Complete())
		}
	}
}
