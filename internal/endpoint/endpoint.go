// Package endpoint is the loop that a user agent and the lab's server run on:
// it ties the transaction machines to transports, clock and randomness.
//
// One goroutine owns an [Endpoint] and everything that its users hang on it:
// transactions, dialogs, registrations, calls. Code that runs there is handed
// the time and must not block; it says so in its documentation as "in the
// loop". Everything else enters through [Endpoint.Post] and [Endpoint.Run].
package endpoint

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"log/slog"
	mrand "math/rand/v2"
	"net/netip"
	"strconv"
	"strings"
	"sync"
	"time"

	sipgo "github.com/emiago/sipgo/sip"

	"github.com/hoorn-phone/hoorn/internal/digest"
	"github.com/hoorn-phone/hoorn/internal/sipwire"
	"github.com/hoorn-phone/hoorn/internal/timerq"
	"github.com/hoorn-phone/hoorn/internal/transaction"
	"github.com/hoorn-phone/hoorn/internal/transport"
)

// ErrClosed is what operations on a closed endpoint return.
var ErrClosed = errors.New("endpoint closed")

// FlowError is what a request fails with whose connection was lost, or that
// could not be sent.
type FlowError struct{ Err error }

func (e *FlowError) Error() string { return "connection lost: " + e.Err.Error() }
func (e *FlowError) Unwrap() error { return e.Err }

// Handler is who uses an endpoint. Its methods run in the loop.
type Handler interface {
	// Request takes a new request (never ACK). A CANCEL names what it
	// cancels, see transaction.Server.Cancels.
	Request(now time.Time, s *transaction.Server)
	// Ack takes the ACK of a 2xx.
	Ack(now time.Time, f *transport.Flow, ack *sipgo.Request)
	// Stray takes a response that no transaction waits for; a forked 2xx of a
	// terminated INVITE transaction is one.
	Stray(now time.Time, f *transport.Flow, r *sipgo.Response)
	// Route chooses the flow of a request that names none, and again when
	// that one failed. It calls ready once, at once or later, in the loop.
	Route(now time.Time, o *Outgoing, ready func(now time.Time, f *transport.Flow, err error))
	// Widen finds a stream to where a UDP flow leads, for a request too large
	// for UDP. It calls ready once, at once or later, in the loop.
	Widen(now time.Time, f *transport.Flow, ready func(now time.Time, wide *transport.Flow, err error))
	// FlowClosed tells that a stream flow ended.
	FlowClosed(now time.Time, f *transport.Flow, err error)
	// Pong and STUN are the answers to keep-alives.
	Pong(now time.Time, f *transport.Flow)
	STUN(now time.Time, f *transport.Flow, id [12]byte, mapped netip.AddrPort, err error)
}

// Config is what an endpoint is made of.
type Config struct {
	Transport transport.Config
	Timers    transaction.Config
	Handler   Handler
	Logger    *slog.Logger // nil: silent
	Rand      io.Reader    // seeds tags, branches and jitter; nil: crypto/rand
	UserAgent string       // value of User-Agent or Server; "": none

	// Digest answers challenges and adds credentials; nil: 401 and 407 are
	// final like any other response.
	Digest *digest.Client

	// Append writes a message; nil is sipwire.Append.
	Append func(dst []byte, m sipgo.Message) []byte

	// Fate decides what becomes of a message on its way out or in: it is
	// delivered once for each element, that much later; not at all for none.
	// It runs in the loop, and is for a lab that breaks things on purpose.
	// Nil delivers everything once and at once, as [AsIs] does.
	Fate func(now time.Time, f *transport.Flow, m sipgo.Message, out bool) []time.Duration
}

// AsIs is the fate of a message that nothing happens to.
var AsIs = []time.Duration{0}

// Endpoint is a loop with transactions and transports. Make it with [New].
type Endpoint struct {
	cfg   Config
	log   *slog.Logger
	rnd   *mrand.ChaCha8
	Q     timerq.Queue       // in the loop
	Table *transaction.Table // in the loop
	Net   *transport.Transport

	mail    *mailbox
	ctx     context.Context // ends with the endpoint
	cancel  context.CancelFunc
	stopped chan struct{}
	work    sync.WaitGroup // of Go

	wire    []byte        // scratch: the message written last; in the loop
	written sipgo.Message // what wire holds, until it is sent; nil: something older
}

// New starts an endpoint. Close ends it.
func New(cfg Config) (*Endpoint, error) {
	if cfg.Rand == nil {
		cfg.Rand = rand.Reader
	}
	if cfg.Append == nil {
		cfg.Append = sipwire.Append
	}
	var seed [32]byte
	if _, err := io.ReadFull(cfg.Rand, seed[:]); err != nil {
		return nil, fmt.Errorf("endpoint: randomness: %w", err)
	}
	e := &Endpoint{
		cfg:     cfg,
		log:     cfg.Logger,
		rnd:     mrand.NewChaCha8(seed),
		mail:    newMailbox(),
		stopped: make(chan struct{}),
	}
	if e.log == nil {
		e.log = slog.New(slog.DiscardHandler)
	}
	e.ctx, e.cancel = context.WithCancel(context.Background())
	e.Table = transaction.New(&e.Q, cfg.Timers, (*sink)(e))
	e.Net = transport.New(cfg.Transport, (*receiver)(e))
	go e.loop()
	return e, nil
}

// Logger is the endpoint's logger, never nil.
func (e *Endpoint) Logger() *slog.Logger { return e.log }

// Context ends when the endpoint closes.
func (e *Endpoint) Context() context.Context { return e.ctx }

// Close ends the loop, what Go has started and every connection, and waits
// for them. It must not be called in the loop. It is idempotent.
func (e *Endpoint) Close() error {
	e.cancel()
	<-e.stopped
	err := e.Net.Close()
	e.work.Wait()
	// Nobody posts any more, and the loop does not read.
	for _, m := range e.mail.take() {
		if m.abort != nil {
			m.abort()
		}
	}
	return err
}

// Post hands a function to the loop, and waits while the mailbox is full. It
// tells whether the loop was there to take it; where it ends before it gets
// that far, the function does not run.
func (e *Endpoint) Post(fn func(now time.Time)) bool {
	return e.post(mail{fn: fn})
}

func (e *Endpoint) post(m mail) bool { return e.deliver(context.Background(), m) == nil }

// deliver hands an input to the loop, and waits while the mailbox is full.
func (e *Endpoint) deliver(ctx context.Context, m mail) error {
	for {
		if e.ctx.Err() != nil {
			return ErrClosed
		}
		wait := e.mail.put(m)
		if wait == nil {
			return nil
		}
		select {
		case <-wait:
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-e.ctx.Done():
			return ErrClosed
		}
	}
}

// Run runs a function in the loop and waits for it. The error is the
// context's, or ErrClosed. After the context's error the function may still
// run. It must not be called in the loop, which would wait for itself.
func (e *Endpoint) Run(ctx context.Context, fn func(now time.Time)) error {
	done := make(chan struct{})
	if err := e.deliver(ctx, mail{fn: func(now time.Time) { fn(now); close(done) }}); err != nil {
		return err
	}
	select {
	case <-done:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	case <-e.stopped:
		return ErrClosed
	}
}

// Go runs work outside the loop, then done in the loop with its outcome. It is
// for what may block. If the endpoint closes before that, abort runs in place
// of done, if it is not nil: one of the two does. In the loop.
func (e *Endpoint) Go(work func(ctx context.Context), done func(now time.Time), abort func()) {
	e.work.Go(func() {
		work(e.ctx)
		if !e.post(mail{fn: done, abort: abort}) && abort != nil {
			abort()
		}
	})
}

func (e *Endpoint) loop() {
	defer close(e.stopped)
	timer := time.NewTimer(time.Hour)
	defer timer.Stop()
	armed := time.Now().Add(time.Hour)
	for {
		if next, ok := e.Q.Next(); ok && next.Before(armed) {
			timer.Reset(time.Until(next))
			armed = next
		}
		select {
		case <-e.mail.full:
			e.receive()
		case <-timer.C:
			now := time.Now()
			e.Q.Advance(now)
			armed = now.Add(time.Hour)
			timer.Reset(time.Hour)
		case <-e.ctx.Done():
			return
		}
	}
}

// receive takes what waits, in batches, so that a burst pays for one look at
// the clock and at the timers.
func (e *Endpoint) receive() {
	for e.ctx.Err() == nil {
		batch := e.mail.take()
		if len(batch) == 0 {
			break
		}
		now := time.Now()
		e.Q.Advance(now)
		for i := range batch {
			e.handle(now, batch[i])
		}
		clear(batch)
	}
	e.mail.rest()
}

func (e *Endpoint) handle(now time.Time, m mail) {
	switch m.kind {
	case mailFunc:
		m.fn(now)
	case mailMessage:
		if req, ok := m.msg.(*sipgo.Request); ok {
			receivedFrom(req, m.f.Remote())
		}
		if e.cfg.Fate == nil {
			e.Table.Receive(now, m.f, m.msg)
			return
		}
		for _, d := range e.cfg.Fate(now, m.f, m.msg, false) {
			e.after(now, d, func(now time.Time) { e.Table.Receive(now, m.f, m.msg) })
		}
	case mailClosed:
		e.Table.FlowFailed(now, m.f, &FlowError{m.err})
		e.cfg.Handler.FlowClosed(now, m.f, m.err)
	case mailPong:
		e.cfg.Handler.Pong(now, m.f)
	}
}

// receivedFrom notes in the top Via where a request came from, so that the
// answer finds its way back (RFC 3261 §18.2.1, RFC 3581 §4).
func receivedFrom(req *sipgo.Request, from netip.AddrPort) {
	via := req.Via()
	if via == nil {
		return
	}
	addr := from.Addr().Unmap()
	if _, ok := via.Params.Get("rport"); ok {
		via.Params.Add("rport", strconv.Itoa(int(from.Port())))
	} else if sentBy, err := netip.ParseAddr(strings.Trim(via.Host, "[]")); err == nil && sentBy.Unmap() == addr {
		return
	}
	via.Params.Add("received", addr.String())
}

// back is where the response goes to a request that came over f. Over UDP it
// is the port that the request came from only where its sender has asked for
// that with rport; otherwise it is the port in his Via (RFC 3261 §18.2.2,
// RFC 3581 §4).
func back(f *transport.Flow, res *sipgo.Response) *transport.Flow {
	via := res.Via()
	if f.Reliable() || via == nil {
		return f
	}
	if _, ok := via.Params.Get("rport"); ok {
		return f
	}
	if via.Port == 0 {
		return f.AtPort(5060)
	}
	return f.AtPort(uint16(via.Port))
}

// Sink of the transactions.
type sink Endpoint

func (s *sink) Send(now time.Time, f transaction.Flow, m sipgo.Message) {
	e := (*Endpoint)(s)
	if e.cfg.Fate == nil {
		e.transmit(now, f, m)
		return
	}
	for _, d := range e.cfg.Fate(now, f.(*transport.Flow), m, true) {
		e.after(now, d, func(now time.Time) { e.transmit(now, f, m) })
	}
}

// after runs fn in the loop, d later.
func (e *Endpoint) after(now time.Time, d time.Duration, fn func(now time.Time)) {
	if d <= 0 {
		fn(now)
		return
	}
	e.Q.Set(&timerq.Timer{F: fn}, now.Add(d))
}

// write puts a message into the scratch buffer, which the next one reuses.
func (e *Endpoint) write(m sipgo.Message) []byte {
	if cap(e.wire) > 16<<10 {
		e.wire = nil // an unusual one
	}
	e.wire, e.written = e.cfg.Append(e.wire[:0], m), m
	return e.wire
}

func (e *Endpoint) transmit(now time.Time, on transaction.Flow, m sipgo.Message) {
	f := on.(*transport.Flow)
	if res, ok := m.(*sipgo.Response); ok {
		f = back(f, res)
	}
	b := e.wire
	if m != e.written {
		b = e.write(m)
	}
	e.written = nil
	if f.Reliable() {
		b = bytes.Clone(b) // it waits in the flow's queue
	}
	if err := f.Send(b); err != nil {
		// Not from here: the machine that sends is at work.
		timer := &timerq.Timer{F: func(now time.Time) { e.Table.SendFailed(now, m, &FlowError{err}) }}
		e.Q.Set(timer, now)
	}
}

func (s *sink) Request(now time.Time, tx *transaction.Server) {
	s.cfg.Handler.Request(now, tx)
}

func (s *sink) Ack(now time.Time, f transaction.Flow, ack *sipgo.Request) {
	s.cfg.Handler.Ack(now, f.(*transport.Flow), ack)
}

func (s *sink) Stray(now time.Time, f transaction.Flow, r *sipgo.Response) {
	s.cfg.Handler.Stray(now, f.(*transport.Flow), r)
}

// receiver is the transport's handler: it runs on readers' goroutines.
type receiver Endpoint

func (r *receiver) Message(f *transport.Flow, m sipgo.Message, _ []byte) {
	(*Endpoint)(r).post(mail{kind: mailMessage, f: f, msg: m})
}

func (r *receiver) Bad(f *transport.Flow, bad *sipwire.BadMessage) {
	e := (*Endpoint)(r)
	if bad.Status == 0 || bad.Request == nil {
		e.log.Debug("dropped a malformed message", "from", f.Remote(), "reason", bad.Reason)
		return
	}
	e.post(mail{f: f, fn: func(now time.Time) {
		// Answered without state (RFC 3261 §8.2.7): nothing is kept for who
		// cannot write.
		receivedFrom(bad.Request, f.Remote())
		(*sink)(e).Send(now, f, bad.Response(e.Tag()))
	}})
}

func (r *receiver) Pong(f *transport.Flow) {
	(*Endpoint)(r).post(mail{kind: mailPong, f: f})
}

func (r *receiver) STUN(f *transport.Flow, id [12]byte, mapped netip.AddrPort, err error) {
	e := (*Endpoint)(r)
	e.post(mail{fn: func(now time.Time) { e.cfg.Handler.STUN(now, f, id, mapped, err) }})
}

func (r *receiver) Closed(f *transport.Flow, err error) {
	(*Endpoint)(r).post(mail{kind: mailClosed, f: f, err: err})
}

func (r *receiver) Accepted(*transport.Flow) {}
