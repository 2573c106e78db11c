package xmpplink

import (
	"fmt"
	"math"
	"strconv"
	"time"

	"github.com/hoorn-phone/hoorn/xmpp/xmltree"
)

const nsLimits = "urn:xmpp:stream-limits:0" // XEP-0478

// SizeError says that a stanza is longer than the server takes (XEP-0478). It was not sent.
type SizeError struct{ Size, Max int } // in bytes

func (e *SizeError) Error() string {
	return fmt.Sprintf("xmpp: a stanza of %d bytes, where the server takes %d", e.Size, e.Max)
}

// limits are what a server takes; zero fields are none that are known.
type limits struct {
	size int           // bytes of an element
	idle time.Duration // without anything from us
}

// readLimits reads XEP-0478 §3. Silence is kept for three quarters of what is allowed, so that a sign of life arrives in time.
func readLimits(features *xmltree.Element) limits {
	var l limits
	e := features.Child(nsLimits, "limits")
	if n, err := strconv.ParseUint(e.Child(nsLimits, "max-bytes").Text(), 10, 64); err == nil {
		l.size = int(min(n, math.MaxInt32))
	}
	if n, err := strconv.ParseUint(e.Child(nsLimits, "idle-seconds").Text(), 10, 64); err == nil {
		l.idle = time.Duration(min(n, math.MaxInt32)) * time.Second * 3 / 4
	}
	return l
}

func (l limits) check(size int) error {
	if l.size > 0 && size > l.size {
		return &SizeError{size, l.size}
	}
	return nil
}
