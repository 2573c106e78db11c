package endpoint

import (
	"context"
	"errors"
	"net/netip"
	"testing"
	"testing/synctest"
	"time"

	sipgo "github.com/emiago/sipgo/sip"

	"github.com/hoorn-phone/hoorn/internal/transaction"
	"github.com/hoorn-phone/hoorn/internal/transport"
)

// nobody uses an endpoint for its loop alone.
type nobody struct{}

func (nobody) Request(time.Time, *transaction.Server)                                    {}
func (nobody) Ack(time.Time, *transport.Flow, *sipgo.Request)                            {}
func (nobody) Stray(time.Time, *transport.Flow, *sipgo.Response)                         {}
func (nobody) FlowClosed(time.Time, *transport.Flow, error)                              {}
func (nobody) Pong(time.Time, *transport.Flow)                                           {}
func (nobody) STUN(time.Time, *transport.Flow, [12]byte, netip.AddrPort, error)          {}
func (nobody) Route(time.Time, *Outgoing, func(time.Time, *transport.Flow, error))       {}
func (nobody) Widen(time.Time, *transport.Flow, func(time.Time, *transport.Flow, error)) {}

func newLoop(t *testing.T) *Endpoint {
	e, err := New(Config{Handler: nobody{}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { e.Close() })
	return e
}

// While the loop is busy the mailbox fills up; then those who post wait,
// nothing is lost, and what one goroutine posts stays in order.
func TestMailboxBound(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e := newLoop(t)
		release := make(chan struct{})
		e.Post(func(time.Time) { <-release })
		synctest.Wait() // the loop is busy

		const n = 3 * mailboxSize
		var order []int // the loop's
		posted := make(chan int, n)
		go func() {
			for i := range n {
				e.Post(func(time.Time) { order = append(order, i) })
				posted <- i
			}
		}()
		synctest.Wait()
		if got := len(posted); got != mailboxSize {
			t.Errorf("%d posts went through while the loop was busy, want %d", got, mailboxSize)
		}

		// Who gives up waiting for room is told.
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if err := e.Run(ctx, func(time.Time) {}); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("Run with a full mailbox: %v", err)
		}

		close(release)
		synctest.Wait()
		if len(order) != n {
			t.Fatalf("%d of %d ran", len(order), n)
		}
		for i, v := range order {
			if v != i {
				t.Fatalf("number %d ran at position %d", v, i)
			}
		}
		if c := cap(e.mail.items) + cap(e.mail.spare); c > 2*mailboxKept {
			t.Errorf("an idle mailbox keeps room for %d", c)
		}
	})
}

// Close frees those who wait for room.
func TestMailboxClose(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e := newLoop(t)
		release := make(chan struct{})
		e.Post(func(time.Time) { <-release })
		synctest.Wait()
		for range mailboxSize {
			e.Post(func(time.Time) {})
		}
		result := make(chan bool)
		go func() { result <- e.Post(func(time.Time) {}) }()
		ran := make(chan error)
		go func() { ran <- e.Run(t.Context(), func(time.Time) {}) }()
		synctest.Wait()
		go e.Close()
		if <-result {
			t.Error("a post after Close went through")
		}
		if err := <-ran; !errors.Is(err, ErrClosed) {
			t.Errorf("Run: %v", err)
		}
		close(release)
	})
}
