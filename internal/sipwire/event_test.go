package sipwire

import (
	"testing"
	"time"
)

func TestEvent(t *testing.T) {
	for _, tt := range []struct {
		in      string
		pkg, id string
		out     string // "": not ok
	}{
		{"dialog", "dialog", "", "dialog"},
		{"presence.winfo", "presence.winfo", "", "presence.winfo"},
		{" refer ; id=93809823 ", "refer", "93809823", "refer;id=93809823"}, // RFC 3515 §3.1.4
		{"dialog; call-id=\"1;2\" ;ID=x; sla", "dialog", "x", `dialog;id=x;call-id="1;2";sla`},
		{"", "", "", ""},
		{"a..b", "", "", ""},
		{"a b", "", "", ""},
		{"a;id", "", "", ""},
		{`a;id="x"`, "", "", ""},
		{"a;=", "", "", ""},
	} {
		e, ok := ParseEvent(tt.in)
		switch {
		case ok != (tt.out != ""):
			t.Errorf("%q: ok is %v", tt.in, ok)
		case ok && (e.Package != tt.pkg || e.ID != tt.id || e.String() != tt.out):
			t.Errorf("%q: %q, %q, %q", tt.in, e.Package, e.ID, e.String())
		}
	}
}

// RFC 6665 §8.2.1: byte by byte, and with id never matches without.
func TestSameEvent(t *testing.T) {
	a, b := Event{Package: "dialog"}, Event{Package: "dialog", ID: "1"}
	switch {
	case a.Same(b), b.Same(a), a.Same(Event{Package: "Dialog"}), b.Same(Event{Package: "dialog", ID: "2"}):
		t.Error("what differs is the same")
	case !b.Same(b):
		t.Error("what is the same differs")
	}
}

func TestSubscriptionState(t *testing.T) {
	for _, tt := range []struct {
		in  string
		ok  bool
		out SubscriptionState
		s   string
	}{
		{"active;expires=3599", true, SubscriptionState{State: "active", Expires: 3599 * time.Second, HasExpires: true}, "active;expires=3599"},
		{"Terminated ; Reason=NoResource", true, SubscriptionState{State: "terminated", Reason: "noresource"}, "terminated;reason=noresource"},
		{"terminated;reason=probation;retry-after=0", true, SubscriptionState{State: "terminated", Reason: "probation", HasRetryAfter: true}, "terminated;reason=probation;retry-after=0"},
		{"terminated;expired", true, SubscriptionState{State: "terminated"}, "terminated"},
		{"active;expires=99999999999", true, SubscriptionState{State: "active"}, "active"},
		{"pending;reason=\"a b\"", true, SubscriptionState{State: "pending"}, "pending"},
		{"", false, SubscriptionState{}, ""},
		{";expires=1", false, SubscriptionState{}, ""},
		{"so so", false, SubscriptionState{}, ""},
	} {
		s, ok := ParseSubscriptionState(tt.in)
		if ok != tt.ok || s != tt.out || ok && s.String() != tt.s {
			t.Errorf("%q: %v %+v %q", tt.in, ok, s, s.String())
		}
	}
	// Rounded up: no subscription is said to be over that is not.
	if got := (SubscriptionState{State: "active", Expires: 1500 * time.Millisecond, HasExpires: true}).String(); got != "active;expires=2" {
		t.Error(got)
	}
}

func FuzzEvent(f *testing.F) {
	f.Add("dialog;id=1;call-id=\"a\";x", "terminated;reason=probation;retry-after=0;expires=5")
	f.Fuzz(func(t *testing.T, event, state string) {
		if e, ok := ParseEvent(event); ok {
			if again, ok := ParseEvent(e.String()); !ok || !again.Same(e) || again.String() != e.String() {
				t.Errorf("%q is written as %q, read as %+v, %v", event, e.String(), again, ok)
			}
		}
		if s, ok := ParseSubscriptionState(state); ok {
			if again, ok := ParseSubscriptionState(s.String()); !ok || again != s {
				t.Errorf("%q is written as %q, read as %+v, %v", state, s.String(), again, ok)
			}
		}
	})
}
