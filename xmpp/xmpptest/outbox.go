package xmpptest

import (
	"sync"
	"time"

	"github.com/hoorn-phone/hoorn/xmpp/xmltree"
)

// outbox is what a connection has still to write. Nobody waits for a client that does not read: what is too much ends the connection.
type outbox struct {
	mu     sync.Mutex
	cond   sync.Cond
	buf    []byte
	ended  bool // after buf
	closed bool
	silent bool
	lost   bool // nothing is written any more, and yet it is not closed
	delay  time.Duration
	gone   chan struct{} // closed when closed is set
	done   chan struct{} // closed when nothing is written any more
}

func (o *outbox) init() {
	o.cond.L = &o.mu
	o.gone, o.done = make(chan struct{}), make(chan struct{})
}

// put appends an element and tells whether there was room for it.
func (o *outbox) put(e *xmltree.Element, limit int) bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.ended || o.closed || o.lost {
		return true // the connection is lost, which its reader is about to find out
	}
	o.buf = e.AppendXML(o.buf, nsClient)
	o.cond.Broadcast()
	return len(o.buf) <= limit
}

// finish ends the stream behind what is to be written.
func (o *outbox) finish(failed *streamError) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if !o.ended {
		o.buf = append(o.buf, ending(failed)...)
		o.ended, o.silent = true, false
		o.cond.Broadcast()
	}
}

// close ends the connection without another word.
func (o *outbox) close() {
	o.mu.Lock()
	defer o.mu.Unlock()
	if !o.closed {
		o.closed = true
		close(o.gone)
		o.cond.Broadcast()
	}
}

// set changes how the connection behaves.
func (o *outbox) set(change func(*outbox)) {
	o.mu.Lock()
	defer o.mu.Unlock()
	change(o)
	o.cond.Broadcast()
}

// wait returns when the connection is not silent.
func (o *outbox) wait() {
	o.mu.Lock()
	defer o.mu.Unlock()
	for o.silent && !o.closed && !o.lost {
		o.cond.Wait()
	}
}

// take returns what is to be written next, and whether that is the end.
func (o *outbox) take() (b []byte, delay time.Duration, end bool) {
	o.mu.Lock()
	defer o.mu.Unlock()
	for (len(o.buf) == 0 && !o.ended || o.silent || o.lost) && !o.closed {
		o.cond.Wait()
	}
	if o.closed {
		return nil, 0, true
	}
	b, o.buf = o.buf, nil
	return b, o.delay, o.ended
}

// write writes what is in the outbox until the connection ends.
func (c *conn) write() {
	defer close(c.out.done)
	defer c.raw.Close() // not TLS's: a connection that is cut says nothing
	for {
		b, delay, end := c.out.take()
		if delay > 0 {
			t := time.NewTimer(delay)
			select {
			case <-t.C:
			case <-c.out.gone:
				t.Stop()
				return
			}
		}
		if len(b) > 0 {
			_ = c.raw.SetWriteDeadline(time.Now().Add(writeTime))
			if _, err := c.net.Write(b); err != nil {
				return
			}
		}
		if end {
			if len(b) > 0 {
				_ = c.net.Close()
			}
			return
		}
	}
}
