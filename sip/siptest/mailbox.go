package siptest

import (
	"bytes"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/hoorn-phone/hoorn/media/wav"
)

// Voicemail is a user's mailbox: calls that find him busy or are not answered
// go there, as he has set it. The zero value is a mailbox with built-in speech
// as its greeting.
type Voicemail struct {
	// Greeting is a WAV file that callers hear; nil is built-in speech.
	Greeting []byte
	// Limit is the greatest length of a message; 0 is a minute.
	Limit time.Duration
	// Messages is how many there may be; 0 is 20. Calls do not go to a mailbox
	// that is full.
	Messages int
}

// VoiceMessage is a message in a mailbox.
type VoiceMessage struct {
	// ID tells the messages of a mailbox apart.
	ID int
	// From is the number of who called and Name his name; "" if withheld.
	From, Name string
	// At is when it was recorded.
	At time.Time
	// PCM is what was said, at 16 kHz. It is not to be changed.
	PCM []int16
	// Old says that the user has listened to it and kept it.
	Old bool
}

// Duration is the length of the message.
func (m VoiceMessage) Duration() time.Duration {
	return time.Duration(len(m.PCM)) * time.Second / soundRate
}

const (
	defaultMessage  = time.Minute
	defaultMessages = 20
	maxMessage      = time.Hour
	maxMessages     = 1000
)

// mailbox is a user's, guarded by his subscriber's mutex.
type mailbox struct {
	cfg      Voicemail
	greeting []int16
	rate     int
	messages []VoiceMessage // in the order they came
	lastID   int
}

// newMailbox reads the greeting; nil is no mailbox.
func newMailbox(v *Voicemail) (*mailbox, error) {
	if v == nil {
		return nil, nil
	}
	b := &mailbox{cfg: *v}
	if b.cfg.Limit <= 0 {
		b.cfg.Limit = defaultMessage
	}
	if b.cfg.Messages <= 0 {
		b.cfg.Messages = defaultMessages
	}
	if b.cfg.Limit > maxMessage || b.cfg.Messages > maxMessages {
		return nil, fmt.Errorf("siptest: User.Voicemail: more than %v or %d messages", maxMessage, maxMessages)
	}
	if v.Greeting != nil {
		var err error
		if b.greeting, b.rate, err = wav.ReadAll(bytes.NewReader(v.Greeting), maxAnnounce); err != nil {
			return nil, fmt.Errorf("siptest: User.Voicemail.Greeting: %w", err)
		}
	}
	return b, nil
}

// greet is what callers hear.
func (b *mailbox) greet() (pcm []int16, rate int) {
	if b.greeting == nil {
		return speech()[:3*soundRate/2], soundRate
	}
	return b.greeting, b.rate
}

var (
	errFull      = errors.New("siptest: the mailbox is full")
	errNoMailbox = errors.New("siptest: the user has no mailbox")
	errNoMessage = errors.New("siptest: no such message")
)

// takes tells whether there is a mailbox with room for a message.
func (s *subscriber) takes() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.box != nil && len(s.box.messages) < s.box.cfg.Messages
}

// put adds a message, and numbers it.
func (s *subscriber) put(m VoiceMessage) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch b := s.box; {
	case b == nil:
		return errNoMailbox
	case len(b.messages) >= b.cfg.Messages:
		return errFull
	default:
		b.lastID++
		m.ID = b.lastID
		b.messages = append(b.messages, m)
		return nil
	}
}

// list returns the messages.
func (s *subscriber) list() []VoiceMessage {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.box == nil {
		return nil
	}
	return slices.Clone(s.box.messages)
}

// mark makes a message old that is to be kept, and deletes one that is not.
func (s *subscriber) mark(id int, keep bool) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.box == nil {
		return errNoMailbox
	}
	i := slices.IndexFunc(s.box.messages, func(m VoiceMessage) bool { return m.ID == id })
	switch {
	case i < 0:
		return errNoMessage
	case keep:
		s.box.messages[i].Old = true
	default:
		s.box.messages = slices.Delete(s.box.messages, i, i+1)
	}
	return nil
}

// heard makes all messages old.
func (s *subscriber) heard() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.box != nil {
		for i := range s.box.messages {
			s.box.messages[i].Old = true
		}
	}
}

// Mailbox returns the messages in a user's mailbox, in the order they came;
// none if he has none.
func (s *Server) Mailbox(user string) []VoiceMessage {
	u := s.users.find(user)
	if u == nil {
		return nil
	}
	return u.state.list()
}

// Deposit puts a message into a user's mailbox, as if somebody had called; its
// ID is drawn. The error is that there is no such user, or mailbox, or that it
// is full.
func (s *Server) Deposit(user string, m VoiceMessage) error {
	return s.atMailbox(user, func(u *User) error { return u.state.put(m) })
}

// KeepMessage makes a message old, as its user does who has listened to it.
// The error is that there is no such user, mailbox or message.
func (s *Server) KeepMessage(user string, id int) error {
	return s.atMailbox(user, func(u *User) error { return u.state.mark(id, true) })
}

// DeleteMessage deletes a message. The error is that of KeepMessage.
func (s *Server) DeleteMessage(user string, id int) error {
	return s.atMailbox(user, func(u *User) error { return u.state.mark(id, false) })
}

// atMailbox changes a user's mailbox.
func (s *Server) atMailbox(user string, fn func(u *User) error) error {
	u := s.users.find(user)
	if u == nil {
		return fmt.Errorf("%w: %q", errNoUser, user)
	}
	if err := fn(u); err != nil {
		return err
	}
	_ = s.run(func(l *life, _ time.Time) { l.mailed(u) }) // an error: nobody is there to be told
	return nil
}
