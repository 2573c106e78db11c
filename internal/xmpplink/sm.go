package xmpplink

import (
	"errors"
	"fmt"
	"slices"
	"strconv"

	"github.com/hoorn-phone/hoorn/xmpp/xmltree"
)

// NSManagement is the namespace of stream management (XEP-0198).
const NSManagement = "urn:xmpp:sm:3"

// ErrUnknown says of a stanza that its stream was lost before the server said
// that it has it: it may have arrived or not.
var ErrUnknown = errors.New("the stream was lost before the server confirmed the stanza")

// Sent is a stanza that was given to a stream. Done is closed when its fate is
// known; Err is for then.
type Sent struct {
	Done chan struct{}
	Err  error // nil: the server has it

	xml []byte // as it was sent
	h   uint32 // its number in the session
}

func newSent(xml []byte) *Sent { return &Sent{xml: xml, Done: make(chan struct{})} }

func (s *Sent) settle(err error) {
	s.Err = err
	close(s.Done)
}

// XML is the stanza as it was written.
func (s *Sent) XML() []byte { return s.xml }

// counter counts the stanzas of a session both ways and keeps those that the
// server has not confirmed (XEP-0198 §4). It does no I/O and is not safe for
// concurrent use. Counts wrap at 2^32 (§4: "modulo 2^32").
//
// What it sends counts from <enable/> on, what it receives from <enabled/> on.
type counter struct {
	in    uint32 // stanzas handled
	out   uint32 // stanzas sent
	acked uint32 // stanzas that the server has handled
	queue []*Sent
	bytes int // in queue
}

// errAck is an <a/> for stanzas that were never sent (XEP-0198 §4: a stream
// error with handled-count-too-high).
type errAck struct{ h, sent uint32 }

func (e *errAck) Error() string {
	return fmt.Sprintf("the server confirms %d stanzas of %d", e.h, e.sent)
}

// send counts a stanza that is about to be written.
func (c *counter) send(s *Sent) {
	c.out++
	s.h = c.out
	c.queue = append(c.queue, s)
	c.bytes += len(s.xml)
}

// ack takes the server's count and returns what it has now.
func (c *counter) ack(h uint32) ([]*Sent, error) {
	n := h - c.acked // also right across the wrap
	if n > uint32(len(c.queue)) {
		// A count that goes backwards looks the same: both are the server's mistake.
		return nil, &errAck{h, c.out}
	}
	done := slices.Clone(c.queue[:n])
	for _, s := range done {
		c.bytes -= len(s.xml)
	}
	c.queue = slices.Delete(c.queue, 0, int(n))
	if len(c.queue) == 0 {
		c.queue = nil
	}
	c.acked = h
	return done, nil
}

// drop gives up what was not confirmed, and returns it.
func (c *counter) drop() []*Sent {
	lost := c.queue
	c.queue, c.bytes = nil, 0
	c.acked = c.out
	return lost
}

// handled reads the h of an element: whether there is one, and that it is a number (XEP-0198 §8: xs:unsignedInt).
func handled(e *xmltree.Element) (h uint32, ok bool, err error) {
	v, ok := e.Lookup("", "h")
	if !ok {
		return 0, false, nil
	}
	n, err := strconv.ParseUint(v, 10, 32)
	if err != nil {
		return 0, false, fmt.Errorf("h is %.20q", v)
	}
	return uint32(n), true, nil
}

func (c *counter) answer() *xmltree.Element {
	return xmltree.New(NSManagement, "a").Set("h", strconv.FormatUint(uint64(c.in), 10))
}

// isStanza tells what counts: nonzas never do (RFC 6120 §8, XEP-0198 §4).
func isStanza(local string) bool { return local == "message" || local == "presence" || local == "iq" }
