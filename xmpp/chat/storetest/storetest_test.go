package storetest

import (
	"context"
	"testing"

	"github.com/hoorn-phone/hoorn/xmpp/chat"
)

func TestMemory(t *testing.T) {
	if err := Check(t.Context(), new(chat.Memory)); err != nil {
		t.Error(err)
	}
}

// broken does one thing wrong.
type broken struct {
	chat.Memory
	forgets bool // messages
	doubles bool // applies batches twice: changes come again
	shuffle bool // its outbox
}

func (b *broken) Apply(ctx context.Context, batch *chat.Batch) error {
	if b.forgets {
		batch = &chat.Batch{Aliases: batch.Aliases}
	}
	if b.doubles && len(batch.Wait) > 0 {
		b.Memory.Apply(ctx, batch)
	}
	return b.Memory.Apply(ctx, batch)
}

func (b *broken) Outbox(ctx context.Context) ([]*chat.Message, error) {
	out, err := b.Memory.Outbox(ctx)
	if b.shuffle && len(out) > 1 {
		out[0], out[1] = out[1], out[0]
	}
	return out, err
}

// A check that cannot fail is none.
func TestCheckFinds(t *testing.T) {
	for name, s := range map[string]chat.Store{"forgets": &broken{forgets: true}, "doubles": &broken{doubles: true}, "shuffles": &broken{shuffle: true}} {
		if err := Check(t.Context(), s); err == nil {
			t.Errorf("a store that %s passes", name)
		}
	}
}

func TestCrasher(t *testing.T) {
	for _, after := range []bool{false, true} {
		var s chat.Memory
		c := &Crasher{Store: &s, Batches: 1, After: after}
		value := func(key string) *chat.Batch { return &chat.Batch{Values: map[string][]byte{key: []byte("v")}} }
		if err := c.Apply(t.Context(), value("1")); err != nil || c.Crashed() {
			t.Errorf("the first: %v", err)
		}
		for _, key := range []string{"2", "3"} {
			if err := c.Apply(t.Context(), value(key)); err != ErrCrashed || !c.Crashed() {
				t.Errorf("%s: %v", key, err)
			}
		}
		_, err2 := s.Value(t.Context(), "2")
		_, err3 := s.Value(t.Context(), "3")
		if (err2 == nil) != after || err3 == nil {
			t.Errorf("after %v: %v, %v", after, err2, err3)
		}
	}
}
