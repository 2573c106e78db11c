package xmpplink

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"mellium.im/xmpp/jid"

	"github.com/hoorn-phone/hoorn/internal/xmppstream"
	"github.com/hoorn-phone/hoorn/xmpp/xmltree"
)

// Bounds of a stream. What exceeds them waits.
const (
	maxUnacked      = 1024    // stanzas that the server has not confirmed
	maxUnackedBytes = 1 << 20 // and their bytes
	maxPending      = 1 << 20 // bytes that are not written yet
	ackEvery        = 16      // stanzas after which we ask for a confirmation, at the latest
)

// Timing says when a stream looks whether the server is still there. Zero
// fields have the values given.
type Timing struct {
	// Idle is how long nothing may arrive before the server is asked for a sign
	// of life. Zero means 4 min, below what home routers and mobile networks forget after; negative never asks.
	Idle time.Duration
	// Answer is how long it has for that, and for taking what is written. Zero means 30 s.
	Answer time.Duration
}

func (t Timing) idle() time.Duration {
	if t.Idle == 0 {
		return 4 * time.Minute
	}
	return t.Idle
}

func (t Timing) answer() time.Duration {
	if t.Answer <= 0 {
		return 30 * time.Second
	}
	return t.Answer
}

// Session is what outlives a stream: who we are to the server, and what it has
// not confirmed yet. It belongs to one stream at a time.
type Session struct {
	JID jid.JID // full

	space    string // the default namespace of what is in count
	managed  bool   // stream management is on
	id       string
	location string        // where to resume, XEP-0198 §5; "" anywhere
	max      time.Duration // how long the server keeps it; 0 if it did not say
	count    counter
}

// Resumable tells whether the server promised to keep the session for a while.
func (s *Session) Resumable() bool { return s != nil && s.id != "" }

// Window is how long the server keeps the session; 0 if it did not say.
func (s *Session) Window() time.Duration { return s.max }

// Location is where the server wants the session to be resumed (XEP-0198 §3); "" is anywhere.
func (s *Session) Location() string {
	if s == nil {
		return ""
	}
	return s.location
}

// Abandon gives the session up: what the server has not confirmed is ErrUnknown.
func (s *Session) Abandon() {
	if s == nil {
		return
	}
	s.id = ""
	for _, sent := range s.count.drop() {
		sent.settle(ErrUnknown)
	}
}

// rewrite makes what has to be sent again fit another kind of transport: elements on a WebSocket bring
// their namespace along (RFC 7395 §3.3.3), those in a stream take it from there.
func (s *Session) rewrite(space string) error {
	if s.space == space {
		return nil
	}
	parser := xmltree.Parser{Space: s.space}
	s.count.bytes = 0
	for _, sent := range s.count.queue {
		e, err := parser.Parse(sent.xml)
		if err != nil {
			return fmt.Errorf("a stanza cannot be written anew: %w", err)
		}
		sent.xml = e.AppendXML(nil, space)
		s.count.bytes += len(sent.xml)
	}
	s.space = space
	return nil
}

// Stream is a stream that is ready for stanzas. Send may be called by anybody; Run by one goroutine, once.
type Stream struct {
	Resumed bool // the session goes on: nothing was lost
	// Lost tells why a resumption was refused; nil if none was tried.
	Lost error
	// Inlined are the namespaces of Config.Inline that the server took with the session.
	Inlined []string

	log     *slog.Logger
	timing  Timing
	t       transport
	session *Session

	features atomic.Pointer[xmltree.Element]

	mu       sync.Mutex
	room     chan struct{} // closed when there may be room again; nil if nobody waits
	pending  []byte        // to be written
	starts   []int         // where elements begin in it
	spare    []byte        // the buffer that was written last
	writing  bool
	enabling bool // <enable/> has no answer yet
	asked    bool // an <r/> has no answer yet
	since    int  // stanzas since the last <r/>
	idle     *time.Timer
	limits   limits
	heardAt  time.Time // when something arrived last
	wroteAt  time.Time // when something was written last
	probed   bool
	closing  bool  // our footer is queued
	err      error // why it ended

	ctx    context.Context // ends with the stream
	cancel context.CancelCauseFunc
}

// Session is what can be resumed when the stream has ended. It must not be
// touched before Run has returned.
func (s *Stream) Session() *Session { return s.session }

// Features is what the server offers now.
func (s *Stream) Features() *xmltree.Element { return s.features.Load() }

// offer takes the features of the server.
func (s *Stream) offer(features *xmltree.Element) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.features.Store(features)
	s.limits = readLimits(features)
}

// Secure tells by which version of TLS the stream is protected.
func (s *Stream) Secure() (version uint16) {
	if cs := s.t.tls(); cs != nil {
		return cs.Version
	}
	return 0
}

func newStream(t transport, session *Session, log *slog.Logger, timing Timing) *Stream {
	session.space = t.space()
	s := &Stream{t: t, session: session, log: log, timing: timing}
	s.ctx, s.cancel = context.WithCancelCause(context.Background())
	return s
}

// Send queues a stanza. It waits while too much is queued already. The result
// is settled when the server has confirmed it or cannot any more; without
// stream management when it is written. Err tells that the stanza was not taken: it is a
// *SizeError if the server would not have.
func (s *Stream) Send(ctx context.Context, e *xmltree.Element) (*Sent, error) {
	xml := e.AppendXML(nil, s.t.space())
	s.mu.Lock()
	for s.err == nil && !s.closing && s.limits.check(len(xml)) == nil && s.full(len(xml)) {
		if s.room == nil {
			s.room = make(chan struct{})
		}
		room := s.room
		s.mu.Unlock()
		select {
		case <-room:
		case <-ctx.Done():
			return nil, context.Cause(ctx)
		}
		s.mu.Lock()
	}
	defer s.mu.Unlock()
	return s.queue(xml)
}

// ErrFull says that there is no room for a stanza.
var ErrFull = errors.New("too much waits for the server already")

// TrySend is like Send but does not wait for room: the answer is ErrFull. It is
// for those who read, since only reading makes room.
func (s *Stream) TrySend(e *xmltree.Element) (*Sent, error) {
	xml := e.AppendXML(nil, s.t.space())
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.err == nil && s.limits.check(len(xml)) == nil && s.full(len(xml)) {
		return nil, ErrFull
	}
	return s.queue(xml)
}

// Context ends with the stream; its cause is why.
func (s *Stream) Context() context.Context { return s.ctx }

// queue takes a stanza; s.mu is held.
func (s *Stream) queue(xml []byte) (*Sent, error) {
	if s.err != nil || s.closing {
		return nil, cmp.Or(s.err, ErrClosed)
	}
	if err := s.limits.check(len(xml)); err != nil {
		return nil, err
	}
	sent := newSent(xml)
	if s.session.managed {
		s.session.count.send(sent)
		s.since++
	}
	s.write(xml)
	if !s.session.managed {
		sent.settle(nil)
	}
	return sent, nil
}

func (s *Stream) full(n int) bool {
	c := &s.session.count
	return len(s.pending) > 0 && len(s.pending)+n > maxPending ||
		s.session.managed && len(c.queue) > 0 && (len(c.queue) >= maxUnacked || c.bytes+n > maxUnackedBytes)
}

// free lets those who wait for room look again; s.mu is held.
func (s *Stream) free() {
	if s.room != nil {
		close(s.room)
		s.room = nil
	}
}

// Nonza queues an element that is no stanza, such as <active/> (XEP-0352).
func (s *Stream) Nonza(e *xmltree.Element) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.err != nil {
		return s.err
	}
	s.write(e.AppendXML(nil, s.t.space()))
	return nil
}

// write queues bytes and sees to it that somebody writes them; s.mu is held.
func (s *Stream) write(xml []byte) {
	if s.pending == nil {
		s.pending, s.spare = s.spare[:0], nil
	}
	s.starts = append(s.starts, len(s.pending))
	s.wroteAt = time.Now()
	s.pending = append(s.pending, xml...)
	if !s.writing {
		s.writing = true
		go s.flush()
	}
}

// flush writes what is queued, all at once, until nothing is left: many stanzas
// share a TLS record and a packet, and an idle stream has no goroutine for writing.
func (s *Stream) flush() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for s.err == nil {
		if len(s.pending) == 0 && s.shouldAsk() {
			s.ask()
		}
		if len(s.pending) == 0 {
			break
		}
		b, starts := s.pending, s.starts
		s.pending, s.starts = nil, nil
		s.mu.Unlock()
		watch := time.AfterFunc(s.timing.answer(), func() { s.fail(&Error{StageStream, ErrSilent}) })
		err := s.t.write(b, starts)
		watch.Stop()
		s.mu.Lock()
		if err != nil {
			s.failed(at(StageStream, err))
			break
		}
		if s.spare == nil && cap(b) <= 4096 {
			s.spare = b[:0]
		}
		s.free()
	}
	s.writing = false
}

// enable turns stream management on (XEP-0198 §3). What is sent counts from here; nobody waits for the
// answer, which saves a round trip.
func (s *Stream) enable() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.session.managed, s.enabling = true, true
	s.write(xmltree.New(NSManagement, "enable").Set("resume", "true").AppendXML(nil, s.t.space()))
}

// shouldAsk tells whether it is time for an <r/>; s.mu is held. One at a time
// is under way, so that the server is not asked more often than it can answer.
func (s *Stream) shouldAsk() bool { return s.session.managed && !s.enabling && !s.asked && s.since > 0 }

// ask queues an <r/> (XEP-0198 §4); s.mu is held.
func (s *Stream) ask() {
	s.asked, s.since = true, 0
	s.write(xmltree.New(NSManagement, "r").AppendXML(nil, s.t.space()))
}

// Skip says of an element that was left out what could be read of it.
type Skip struct {
	Local, ID, From, Type string
	Err                   error
}

// Run reads until the stream ends and hands each element to handle, in order.
// A stanza counts as handled when handle has returned. Elements of stream
// management are not handed over. skip is told of elements that were left out; they
// count too, or they would come again. The error says why the stream ended; it is never nil.
func (s *Stream) Run(handle func(*xmltree.Element), skip func(Skip)) error {
	s.mu.Lock()
	s.arm()
	s.mu.Unlock()
	for {
		e, err := s.t.next()
		var left *skipped
		switch {
		case errors.As(err, &left):
			s.heard()
			skip(Skip{left.local, left.id, left.from, left.typ, left})
			if isStanza(left.local) {
				s.counted()
			}
			continue
		case err != nil:
			return s.ended(err)
		}
		s.heard()
		if end := s.dispatch(e, handle); end != nil {
			return s.ended(end)
		}
	}
}

// ended ends the stream because reading has, with the words that are due.
func (s *Stream) ended(err error) error {
	s.mu.Lock()
	closing, writing := s.closing, s.writing
	s.mu.Unlock()
	var words [][]byte
	var miscounted *errAck
	switch {
	case closing && errors.Is(err, ErrPeerClosed):
		return s.fail(ErrClosed)
	case errors.Is(err, ErrPeerClosed):
		words = [][]byte{s.t.footer()} // RFC 6120 §4.4: who receives a footer sends one
	case errors.As(err, &miscounted): // XEP-0198 §4
		e := xmltree.New(xmltree.NSStream, "error", xmltree.New(xmppstream.NSError, "undefined-condition"), xmltree.New(NSManagement, "handled-count-too-high").
			Set("h", strconv.FormatUint(uint64(miscounted.h), 10)).Set("send-count", strconv.FormatUint(uint64(miscounted.sent), 10)))
		words = [][]byte{e.AppendXML(nil, s.t.space()), s.t.footer()}
	}
	if len(words) > 0 && !writing && !closing {
		s.t.deadline(time.Now().Add(time.Second))
		for _, w := range words {
			s.t.write(w, []int{0})
		}
	}
	return s.fail(at(StageStream, err))
}

func (s *Stream) dispatch(e *xmltree.Element, handle func(*xmltree.Element)) error {
	switch {
	case e.Name.Space == NSManagement && s.session.managed:
		return s.management(e)
	case e.Is(xmltree.NSStream, "error"):
		return streamError(e)
	case e.Is(xmltree.NSStream, "features"): // those after a resumption by SASL2
		s.offer(e)
		return nil
	}
	handle(e)
	if e.Name.Space == s.t.content() && isStanza(e.Name.Local) {
		s.counted()
	}
	return nil
}

func (s *Stream) counted() {
	s.mu.Lock()
	s.session.count.in++
	s.mu.Unlock()
}

func (s *Stream) management(e *xmltree.Element) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch e.Name.Local {
	case "enabled", "failed":
		s.answered(e)
	case "r":
		s.write(s.session.count.answer().AppendXML(nil, s.t.space()))
	case "a":
		h, ok, err := handled(e)
		if err != nil || !ok {
			return &Error{StageStream, errors.Join(errors.New("an answer without a count"), err)}
		}
		s.asked = false
		done, err := s.session.count.ack(h)
		if err != nil {
			return err
		}
		for _, sent := range done {
			sent.settle(nil)
		}
		s.free()
		if s.shouldAsk() && !s.writing {
			s.ask()
		}
	}
	return nil
}

// answered takes the answer to <enable/>; s.mu is held.
func (s *Stream) answered(e *xmltree.Element) {
	if !s.enabling {
		return
	}
	s.enabling = false
	if e.Name.Local == "enabled" {
		s.session.enabled(e)
		s.session.count.in = 0 // what was received counts from here
		if s.shouldAsk() && !s.writing {
			s.ask()
		}
		return
	}
	// We can live without: what was written is written.
	s.session.managed = false
	settle(s.session.count.drop())
	s.free()
}

// heard notes that the server is alive.
func (s *Stream) heard() {
	s.mu.Lock()
	s.probed = false
	s.heardAt = time.Now()
	s.mu.Unlock()
}

// arm makes the stream look after a while whether the server is alive; s.mu is held. The timer is not moved with
// each stanza: it looks at the clock when it rings.
func (s *Stream) arm() {
	if s.timing.idle() < 0 || s.err != nil {
		return
	}
	s.heardAt = time.Now()
	if s.wroteAt.IsZero() {
		s.wroteAt = s.heardAt
	}
	if s.idle == nil {
		s.idle = time.AfterFunc(time.Until(s.due()), s.quiet)
	}
}

// due is when the server is asked for a sign of life, or shown one; s.mu is held.
func (s *Stream) due() time.Time {
	due := s.heardAt.Add(s.timing.idle())
	if s.limits.idle > 0 {
		if t := s.wroteAt.Add(s.limits.idle); t.Before(due) {
			return t
		}
	}
	return due
}

// quiet is called when the time has come.
func (s *Stream) quiet() {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch wait := time.Until(s.due()); {
	case s.err == nil && s.probed:
		s.probe()
	case s.err != nil || s.timing.idle() < 0:
	case wait > 0:
		s.idle.Reset(wait)
	default:
		s.probe()
	}
}

// Probe asks the server for a sign of life now, as after a change of network:
// without one the stream ends after Timing.Answer.
func (s *Stream) Probe() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.probed {
		s.probe()
	}
}

// probe asks for a sign of life, or ends the stream if none has come; s.mu is held.
func (s *Stream) probe() {
	switch {
	case s.err != nil:
	case s.probed:
		s.failed(&Error{StageStream, ErrSilent})
	default:
		s.probed = true
		if s.session.managed && !s.enabling {
			s.ask()
		} else {
			// Any answer will do, also an error (XEP-0199 §4.2).
			ping := xmltree.New(s.t.content(), "iq", xmltree.New("urn:xmpp:ping", "ping")).Set("type", "get").Set("id", pingID)
			s.write(ping.AppendXML(nil, s.t.space()))
		}
		if s.idle == nil {
			s.idle = time.AfterFunc(s.timing.answer(), s.quiet)
		} else {
			s.idle.Reset(s.timing.answer())
		}
	}
}

// pingID is the id of pings that only ask for a sign of life: nobody waits for their answers.
const pingID = "hoorn-alive"

// Close ends the stream in order: what is queued is written, then the footer;
// the server has until ctx ends to do the same (RFC 6120 §4.4). Run returns
// ErrClosed. The session is over, for the server too.
func (s *Stream) Close(ctx context.Context) {
	stop := context.AfterFunc(ctx, func() { s.fail(ErrClosed) })
	defer stop()
	s.mu.Lock()
	if s.err == nil && !s.closing {
		if s.session.managed && !s.enabling {
			// So that the server does not store what was handled as undelivered (XEP-0198 §4).
			s.write(s.session.count.answer().AppendXML(nil, s.t.space()))
		}
		s.closing = true
		s.session.id = ""
		s.write(s.t.footer())
	}
	s.mu.Unlock()
	<-s.ctx.Done()
}

// Cut ends the stream at once and leaves the session to be resumed.
func (s *Stream) Cut(err error) { s.fail(err) }

func (s *Stream) fail(err error) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.failed(err)
}

// failed ends the stream, unless it has ended, and returns why it did; s.mu is held.
func (s *Stream) failed(err error) error {
	if s.err != nil {
		return s.err
	}
	if errors.Is(err, net.ErrClosed) {
		err = ErrClosed
	}
	s.err = err
	if s.idle != nil {
		s.idle.Stop()
	}
	s.free()
	s.cancel(err)
	s.t.close()
	return err
}
