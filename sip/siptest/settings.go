package siptest

import (
	"fmt"
	"sync"
	"time"
)

// Settings are what a user has set for the calls that come to him, by access
// codes (see [Feature]) or through [Server.Change]. In the zero value his
// devices ring, and nothing else.
type Settings struct {
	// DoNotDisturb makes him busy.
	DoNotDisturb bool

	// Where calls go, a name or number of the lab: all of them; those that
	// find him busy (or not to be disturbed); those that he does not answer;
	// those that find no device of his, and if that is "" as unanswered ones.
	// "" is nowhere. A call is forwarded at most five times, and never to who
	// has forwarded it.
	ForwardAlways, ForwardBusy, ForwardNoAnswer, ForwardNotReachable string

	// Which of these go to the user's mailbox, if he has one and they are not
	// forwarded elsewhere. A user with a mailbox begins with the latter two.
	VoicemailAlways, VoicemailBusy, VoicemailNoAnswer bool

	// NoAnswerAfter is how long devices ring until a call counts as not
	// answered and goes elsewhere; 0 is 18 s, which are three rings.
	NoAnswerAfter time.Duration
}

const defaultNoAnswer = 18 * time.Second

// subscriber is what the lab knows of a user that changes. It is safe for
// concurrent use, and outlives the lab's lives.
type subscriber struct {
	mu       sync.Mutex
	settings Settings
	dialled  string // the number he called last
	caller   string // that of who called him last; "" if that was withheld

	box *mailbox // nil: none
}

func (s *subscriber) get() Settings {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.settings
}

func (s *subscriber) change(fn func(*Settings)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	fn(&s.settings)
}

func (s *subscriber) lastDialled() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.dialled
}

func (s *subscriber) lastCaller() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.caller
}

// noteDialled remembers a call for redial, noteCaller one for call return.
func (s *subscriber) noteDialled(number string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.dialled = number
}

func (s *subscriber) noteCaller(number string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.caller = number
}

// Settings returns what a user has set; the zero value if there is no such
// user.
func (s *Server) Settings(user string) Settings {
	u := s.users.find(user)
	if u == nil {
		return Settings{}
	}
	return u.state.get()
}

// Change changes what a user has set, for the calls that come from now on. fn
// must not call the server. The error is that there is no such user.
func (s *Server) Change(user string, fn func(*Settings)) error {
	u := s.users.find(user)
	if u == nil {
		return fmt.Errorf("%w: %q", errNoUser, user)
	}
	u.state.change(fn)
	return nil
}
