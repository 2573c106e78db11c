package chat

import (
	"bytes"
	"cmp"
	"context"
	"slices"
	"sync"
)

// Memory is a Store that forgets everything when the program ends. The zero value is ready.
type Memory struct {
	mu       sync.RWMutex
	changed  uint64
	messages map[string]*Message
	aliases  map[Alias]string
	history  map[string][]*Message // of each chat, in order
	waiting  map[Alias][]*Waiting
	chats    map[string]*Chat
	values   map[string][]byte
	outbox   []string // IDs, in the order in which they were put there
	actions  []*Action
	log      []change // of all changes; those that were overtaken go from time to time
}

// change is an entry of the log: a message or chat that got a number.
type change struct {
	number        uint64
	message, chat string // its key, in one of the two
}

func (s *Memory) init() {
	if s.messages == nil {
		s.messages, s.aliases, s.history = make(map[string]*Message), make(map[Alias]string), make(map[string][]*Message)
		s.waiting, s.chats, s.values = make(map[Alias][]*Waiting), make(map[string]*Chat), make(map[string][]byte)
	}
}

// Apply implements Store.
func (s *Memory) Apply(_ context.Context, b *Batch) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.init()
	for _, m := range b.Messages {
		s.put(m)
	}
	for a, id := range b.Aliases {
		s.aliases[a] = id
	}
	for _, w := range b.Wait {
		s.waiting[w.For] = append(s.waiting[w.For], w)
	}
	for _, a := range b.Actions {
		s.actions = append(s.actions, &Action{a.ID, bytes.Clone(a.XML)})
	}
	for _, id := range b.Said {
		s.actions = slices.DeleteFunc(s.actions, func(a *Action) bool { return a.ID == id })
	}
	for _, a := range b.Settled {
		delete(s.waiting, a)
	}
	for _, c := range b.Chats {
		s.changed++
		own := *c
		own.Changed = s.changed
		s.chats[c.Address] = &own
		s.log = append(s.log, change{number: s.changed, chat: c.Address})
	}
	for key, v := range b.Values {
		if v == nil {
			delete(s.values, key)
		} else {
			s.values[key] = bytes.Clone(v)
		}
	}
	if len(s.log) > 64+2*(len(s.messages)+len(s.chats)) {
		s.log = slices.DeleteFunc(s.log, func(c change) bool { return s.current(c) == nil })
	}
	return nil
}

// current is what an entry of the log is about; nil if that has changed since.
func (s *Memory) current(c change) *Change {
	if m := s.messages[c.message]; m != nil && m.Changed == c.number {
		return &Change{Message: m}
	}
	if ch := s.chats[c.chat]; ch != nil && ch.Changed == c.number {
		return &Change{Chat: ch}
	}
	return nil
}

func (s *Memory) put(m *Message) {
	s.changed++
	own := *m
	own.Changed = s.changed
	old := s.messages[m.ID]
	if own.Seq == 0 && old != nil {
		own.Seq = old.Seq
	}
	if own.Seq == 0 {
		own.Seq = s.changed
	}
	s.messages[m.ID] = &own
	s.log = append(s.log, change{number: s.changed, message: m.ID})
	list := s.history[m.Chat]
	if old != nil {
		if i, ok := slices.BinarySearchFunc(list, old.Place(), byPlace); ok {
			list = slices.Delete(list, i, i+1)
		}
	}
	i, _ := slices.BinarySearchFunc(list, own.Place(), byPlace)
	s.history[m.Chat] = slices.Insert(list, i, &own)
	pending := func(m *Message) bool { return m != nil && m.State == Queued }
	switch {
	case pending(&own) && !pending(old):
		s.outbox = append(s.outbox, m.ID)
	case !pending(&own) && pending(old):
		s.outbox = slices.DeleteFunc(s.outbox, func(id string) bool { return id == m.ID })
	}
}

func byPlace(m *Message, p Place) int {
	switch q := m.Place(); {
	case q.Before(p):
		return -1
	case p.Before(q):
		return 1
	}
	return 0
}

// Message implements Store.
func (s *Memory) Message(_ context.Context, id string) (*Message, error) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	return found(s.messages[id])
}

func found[T any](v *T) (*T, error) {
	if v == nil {
		return nil, ErrNotFound
	}
	return v, nil
}

// Resolve implements Store.
func (s *Memory) Resolve(_ context.Context, a Alias) (string, error) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	if id, ok := s.aliases[a]; ok {
		return id, nil
	}
	return "", ErrNotFound
}

// History implements Store.
func (s *Memory) History(_ context.Context, chat string, before Place, n int) ([]*Message, error) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	list := s.history[chat]
	end := len(list)
	if before != (Place{}) {
		end, _ = slices.BinarySearchFunc(list, before, byPlace)
	}
	page := slices.Clone(list[max(0, end-max(n, 0)):end])
	slices.Reverse(page)
	return page, nil
}

// Changes implements Store.
func (s *Memory) Changes(_ context.Context, since uint64, n int) ([]Change, error) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	var all []Change
	start, _ := slices.BinarySearchFunc(s.log, since+1, func(c change, n uint64) int { return cmp.Compare(c.number, n) })
	for _, c := range s.log[start:] {
		if len(all) >= n {
			break
		}
		if now := s.current(c); now != nil {
			all = append(all, *now)
		}
	}
	return all, nil
}

// Outbox implements Store.
func (s *Memory) Outbox(context.Context) ([]*Message, error) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	var all []*Message
	for _, id := range s.outbox {
		all = append(all, s.messages[id])
	}
	return all, nil
}

// Actions implements Store.
func (s *Memory) Actions(context.Context) ([]*Action, error) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	return slices.Clone(s.actions), nil
}

// Waiting implements Store.
func (s *Memory) Waiting(_ context.Context, a Alias) ([]*Waiting, error) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	return slices.Clone(s.waiting[a]), nil
}

// Chats implements Store.
func (s *Memory) Chats(context.Context) ([]*Chat, error) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	var all []*Chat
	for _, c := range s.chats {
		all = append(all, c)
	}
	slices.SortFunc(all, func(a, b *Chat) int { return cmp.Or(b.Last.Compare(a.Last), cmp.Compare(a.Address, b.Address)) })
	return all, nil
}

// Chat implements Store.
func (s *Memory) Chat(_ context.Context, chat string) (*Chat, error) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	return found(s.chats[chat])
}

// Value implements Store.
func (s *Memory) Value(_ context.Context, key string) ([]byte, error) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	v, ok := s.values[key]
	if !ok {
		return nil, ErrNotFound
	}
	return bytes.Clone(v), nil
}
