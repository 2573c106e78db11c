package chat

import (
	"context"
	"errors"
	"sync"

	"github.com/hoorn-phone/hoorn/xmpp"
	"github.com/hoorn-phone/hoorn/xmpp/xmltree"
)

// outbox sends what waits in the store, in order, as long as there is a
// connection. What the server had not confirmed when a session ended is looked
// for in the archive first; what is not there is sent again, under the same id.
// Without an archive that is: rather twice than not at all.
type outbox struct {
	m *Messenger

	mu       sync.Mutex
	running  bool
	again    bool            // something has come meanwhile
	inFlight map[string]bool // given to the stream, not confirmed: by ID
}

// maxActions bounds how many wait.
const maxActions = 1000

// ErrOutboxFull says that too much waits to be sent.
var ErrOutboxFull = errors.New("chat: too much waits to be sent")

// put adds an action to a batch; o.m.mu is held.
func (o *outbox) put(ctx context.Context, b *Batch, a *Action) error {
	all, err := o.m.store.Actions(ctx)
	if err != nil {
		return err
	}
	if len(all) >= maxActions {
		return ErrOutboxFull
	}
	b.Actions = append(b.Actions, a)
	return nil
}

// wake looks for something to send.
func (o *outbox) wake() {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.again = o.running; !o.running {
		o.running = true
		go o.run()
	}
}

func (o *outbox) run() {
	ctx := context.Background()
	for {
		id, s, err := o.next(ctx)
		if err != nil {
			o.m.log.Error("chat: the outbox cannot be read", "err", err)
		}
		if s != nil {
			if err = o.send(ctx, id, s); err == nil {
				continue
			}
			o.m.log.Debug("chat: not sent", "err", err)
		}
		o.mu.Lock()
		if err != nil || !o.again {
			// An error is of the connection, and whoever makes the next one calls wake.
			o.running, o.again = false, false
			o.mu.Unlock()
			return
		}
		o.again = false
		o.mu.Unlock()
	}
}

// next returns what is to be sent next; nil if there is nothing. Before the
// archive is level it is not known what the server has already.
func (o *outbox) next(ctx context.Context) (string, xmpp.Stanza, error) {
	if !o.m.sync.isLevel() {
		return "", nil, nil
	}
	waiting := func(id string) bool {
		o.mu.Lock()
		defer o.mu.Unlock()
		return !o.inFlight[id]
	}
	list, err := o.m.store.Outbox(ctx)
	if err != nil {
		return "", nil, err
	}
	for _, msg := range list {
		switch {
		case !waiting(msg.ID):
		case msg.Retracted != nil:
			// Not sent yet, as far as we know: then it need not be. If it was, the retraction follows it.
			if err := o.takenBack(ctx, msg); err != nil {
				return "", nil, err
			}
		default:
			s, err := wire(msg)
			return msg.ID, s, err
		}
	}
	all, err := o.m.store.Actions(ctx)
	if err != nil {
		return "", nil, err
	}
	for _, a := range all {
		if waiting(a.ID) {
			e, err := xmltree.Parse(a.XML)
			return a.ID, element{e}, err
		}
	}
	return "", nil, nil
}

// takenBack takes a message out of the outbox that was retracted in it.
func (o *outbox) takenBack(ctx context.Context, msg *Message) error {
	own := msg.clone()
	own.State, own.Failure = Failed, "taken back before it was sent"
	o.m.mu.Lock()
	defer o.m.mu.Unlock()
	return o.m.apply(ctx, &Batch{Messages: []*Message{own}})
}

// element is a stanza that is written already.
type element struct{ e *xmltree.Element }

// Element implements xmpp.Stanza.
func (e element) Element() *xmltree.Element { return e.e }

// send gives a stanza to the stream, and follows it.
func (o *outbox) send(ctx context.Context, id string, s xmpp.Stanza) error {
	sent, err := o.m.client.Send(ctx, s)
	if err != nil {
		return err
	}
	o.mu.Lock()
	o.inFlight[id] = true
	o.mu.Unlock()
	go func() {
		err := sent.Wait(ctx)
		if err == nil {
			if err := o.confirmed(ctx, id); err != nil {
				// The server has it. To send it again because our store is broken would only double it.
				o.m.log.Error("chat: the outbox cannot be written", "err", err)
				return
			}
		}
		o.mu.Lock()
		delete(o.inFlight, id)
		o.mu.Unlock()
		if err != nil {
			o.m.log.Info("chat: not known to have arrived", "id", id, "err", err)
			o.wake()
		}
	}()
	return nil
}

// confirmed notes that the server has what was sent.
func (o *outbox) confirmed(ctx context.Context, id string) error {
	m := o.m
	m.mu.Lock()
	defer m.mu.Unlock()
	b := new(Batch)
	msg, err := m.store.Message(ctx, id)
	switch {
	case errors.Is(err, ErrNotFound):
		b.Said = []string{id}
	case err != nil:
		return err
	default:
		own := msg.clone()
		if !advance(own, Sent) {
			return nil
		}
		b.Messages = []*Message{own}
		m.sync.soon()
	}
	return m.apply(ctx, b)
}
