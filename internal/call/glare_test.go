package call

import (
	"testing"
	"time"
)

// drawn draws one number again and again.
type drawn struct {
	Env
	f float64
}

func (d drawn) Float() float64 { return d.f }

// RFC 3261 §14.1: the owner of the Call-ID waits 2.1 to 4 s after a 491, the other
// 0 to 2 s, "in units of 10 ms".
func TestGlareWait_RFC3261_14_1(t *testing.T) {
	for _, tt := range []struct {
		draw         float64
		owner, other time.Duration
	}{
		{0, 2100 * time.Millisecond, 0},
		{0.0051, 2100 * time.Millisecond, 10 * time.Millisecond},
		{0.5, 3050 * time.Millisecond, time.Second},
		{0.999999, 4 * time.Second, 2 * time.Second},
	} {
		owner, other := &Call{env: drawn{f: tt.draw}, out: true}, &Call{env: drawn{f: tt.draw}}
		if got := owner.glareWait(); got != tt.owner {
			t.Errorf("owner, %v drawn: %v, want %v", tt.draw, got, tt.owner)
		}
		if got := other.glareWait(); got != tt.other {
			t.Errorf("other, %v drawn: %v, want %v", tt.draw, got, tt.other)
		}
	}
}
