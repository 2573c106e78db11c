package sip

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/hoorn-phone/hoorn/internal/call"
)

// SessionTimer says how calls find out that the peer has vanished without a
// word (RFC 4028): one side repeats at half of an interval that all is as it
// was, the other hangs up when it hears nothing. The zero value asks for half
// an hour.
type SessionTimer struct {
	// Expires is the interval that is asked for, and the longest that is agreed
	// to; 0 is 30 minutes, the least is 90 seconds. A server may want more, and
	// gets it.
	Expires time.Duration
	// MinSE is the shortest interval that is agreed to; 0 is 90 seconds, the
	// least there is. A peer that wants a shorter one is answered with 422.
	MinSE time.Duration
	// Refresher is who repeats, Local or Remote, where the peer leaves that to
	// us. 0: whoever called.
	Refresher Side
	// Off does without, whatever the peer wants.
	Off bool
}

const (
	defaultExpires = 30 * time.Minute
	leastExpires   = 90 * time.Second // RFC 4028 §4
)

func (t SessionTimer) check() error {
	switch {
	case t.Expires != 0 && t.Expires < leastExpires, t.MinSE != 0 && t.MinSE < leastExpires:
		return fmt.Errorf("sip: Config.SessionTimer: %v, at least %v; RFC 4028 wants %v or more", t.Expires, t.MinSE, leastExpires)
	case t.Refresher != 0 && t.Refresher != Local && t.Refresher != Remote:
		return fmt.Errorf("sip: Config.SessionTimer: Refresher is %v", t.Refresher)
	}
	return nil
}

func (t SessionTimer) internal() call.SessionTimer {
	if t.Expires == 0 {
		t.Expires = defaultExpires
	}
	return call.SessionTimer{Off: t.Off, Expires: t.Expires, MinSE: t.MinSE, Refresher: call.Side(t.Refresher)}
}

// extensions are the option tags that the UA understands.
func (ua *UA) extensions() []string {
	if ua.cfg.SessionTimer.Off {
		return slices.DeleteFunc(slices.Clone(extensions), func(tag string) bool { return tag == "timer" })
	}
	return extensions
}

// says is Supported.
func (ua *UA) says() string {
	if ua.cfg.SessionTimer.Off {
		return strings.Join(ua.extensions(), ", ")
	}
	return supported
}
