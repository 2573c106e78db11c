package sip

import (
	"testing"

	"github.com/hoorn-phone/hoorn/internal/sipwire"
)

// What becomes of requests of event packages where nothing is subscribed to
// (RFC 6665).
func TestNothingSubscribed(t *testing.T) {
	bubble(t, "§4.1.3: NOTIFY for nothing gets 481, of an unknown package or none 489", func(t *testing.T, s *server) {
		ua, c := registered(t, s, s.config(), 3600)
		in := answered(t, ua, c)
		for i, tt := range []struct {
			name, method, callID, tag string
			lines                     []string
			status                    int
		}{
			{"no dialog", "NOTIFY", "n1", "", []string{"Event:refer", "Subscription-State:active"}, 481},
			{"a dialog that is not there", "NOTIFY", "n2", "gone", []string{"o:refer;id=7", "Subscription-State:active"}, 481},
			{"a call, which has asked for nothing", "NOTIFY", in.ID(), in.m.LocalTag(), []string{"Event:refer", "Subscription-State:active"}, 481},
			{"an unknown package", "NOTIFY", "n3", "", []string{"Event:refer.winfo", "Subscription-State:active"}, 489},
			{"an unknown package in a call", "NOTIFY", in.ID(), in.m.LocalTag(), []string{"Event:nonsense"}, 489},
			{"no Event", "NOTIFY", "n4", "", nil, 489},
			{"no Event in a dialog", "NOTIFY", "n5", "gone", nil, 489},
			{"an Event that cannot be read", "NOTIFY", "n6", "", []string{"Event:re fer"}, 489},
			{"SUBSCRIBE", "SUBSCRIBE", "n7", "", []string{"Event:presence"}, 489},
			{"SUBSCRIBE in a dialog that is not there", "SUBSCRIBE", "n8", "gone", []string{"Event:presence"}, 489},
			{"SUBSCRIBE in a call", "SUBSCRIBE", in.ID(), in.m.LocalTag(), []string{"Event:presence"}, 489},
		} {
			c.ask(tt.method, tt.callID, string(rune('a'+i)), i+10, tt.tag, "", tt.lines...)
			r := c.response(tt.status)
			if got := sipwire.Header(r, "Allow-Events"); tt.status == 489 && got != allowEvents() {
				t.Errorf("%s: Allow-Events %q, want %q", tt.name, got, allowEvents())
			}
		}
		if in.State() != CallEstablished {
			t.Errorf("the call is %v", in.State())
		}
	})
}
