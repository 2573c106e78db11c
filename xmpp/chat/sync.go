package chat

import (
	"context"
	"encoding/json"
	"errors"
	"sync"
	"time"

	"mellium.im/xmpp/jid"

	"github.com/hoorn-phone/hoorn/xmpp"
	"github.com/hoorn-phone/hoorn/xmpp/archive"
)

// Times of keeping in step with the archive.
const (
	// firstSync is how far back a store without a cursor looks.
	firstSync = 30 * 24 * time.Hour
	// catchUp is how long after a message the archive is asked what it calls it,
	// so that the next session need not read all of this one again.
	catchUp = 10 * time.Second
)

// maxHeld bounds the messages that wait until the archive is level; more are left to the archive.
const maxHeld = 4096

// Archive is how the store stands to the archive of the account.
type Archive struct {
	// Level tells that everything up to this session is here, and what comes now follows on it.
	Level bool
	// Gap is from when on messages may be missing, because the archive has
	// forgotten where we were; zero is never.
	Gap time.Time
	// Err is why the archive could not be read; nil if it could, or if the server has none.
	Err error
}

// syncer reads the archive at the beginning of a session, and holds back what comes meanwhile.
type syncer struct {
	m *Messenger
	a *archive.Archive

	mu      sync.Mutex
	status  Archive
	exists  bool // there is an archive
	session int  // counts sessions
	held    []*arrival
	more    bool // some were not held
	timer   *time.Timer
}

// cursor is where the store stands in the archive.
type cursor struct {
	ID   string
	Time time.Time
}

const cursorKey = "archive/cursor"

// Archive tells how the store stands to the archive.
func (m *Messenger) Archive() Archive {
	m.sync.mu.Lock()
	defer m.sync.mu.Unlock()
	return m.sync.status
}

// bound begins a session: from now on messages wait until the archive is level.
func (s *syncer) bound(ctx context.Context) error {
	s.mu.Lock()
	s.session++
	session := s.session
	s.status.Level, s.held, s.more = false, nil, false
	s.mu.Unlock()
	exists, _, err := archive.Supports(ctx, s.m.client, jid.JID{})
	if err != nil {
		s.level(session, err)
		return err
	}
	s.mu.Lock()
	s.exists = exists
	s.mu.Unlock()
	if !exists {
		s.level(session, nil)
		return nil
	}
	go s.run(session)
	return nil
}

// run reads what the archive has since the last time.
func (s *syncer) run(session int) {
	for {
		err := s.read(session)
		s.mu.Lock()
		again := err == nil && s.more && s.session == session
		s.more = false
		s.mu.Unlock()
		if !again {
			s.level(session, err)
			return
		}
	}
}

// read reads to the end. The cursor moves with whole pages alone, each of which follows on the one before.
func (s *syncer) read(session int) error {
	ctx := context.Background()
	from, err := s.cursor(ctx)
	if err != nil {
		return err
	}
	q := &archive.Query{After: from.ID}
	if from.ID == "" {
		q.Start = time.Now().Add(-firstSync)
	}
	for retried := false; ; retried = true {
		err := s.pages(ctx, q, session)
		if !errors.Is(err, archive.ErrGone) || retried {
			return err
		}
		// The archive does not know our cursor any more: by time, then.
		s.m.log.Warn("chat: the archive has forgotten where we were", "time", from.Time)
		s.mu.Lock()
		s.status.Gap = from.Time
		s.mu.Unlock()
		q = &archive.Query{Start: from.Time}
	}
}

func (s *syncer) pages(ctx context.Context, q *archive.Query, session int) error {
	for page, err := range s.a.Pages(ctx, q) {
		if err != nil {
			return err
		}
		s.mu.Lock()
		current := s.session == session
		s.mu.Unlock()
		if !current {
			return errSuperseded
		}
		for _, r := range page.Results {
			a := &arrival{stanza: r.Message, archive: s.m.ledger.account, archiveID: r.ID, at: r.Stamp}
			if _, err := s.m.take(ctx, a); err != nil {
				return err
			}
		}
		if page.Last == "" {
			continue
		}
		at := cursor{ID: page.Last}
		if n := len(page.Results); n > 0 {
			at.Time = page.Results[n-1].Stamp
		}
		if err := s.move(ctx, at); err != nil {
			return err
		}
	}
	return nil
}

// errSuperseded says that another session has begun.
var errSuperseded = errors.New("chat: another session has begun")

func (s *syncer) cursor(ctx context.Context) (c cursor, err error) {
	b, err := s.m.store.Value(ctx, cursorKey)
	if errors.Is(err, ErrNotFound) {
		return c, nil
	}
	if err == nil {
		err = json.Unmarshal(b, &c)
	}
	return c, err
}

func (s *syncer) move(ctx context.Context, to cursor) error {
	b, err := json.Marshal(to)
	if err != nil {
		return err
	}
	s.m.mu.Lock()
	defer s.m.mu.Unlock()
	return s.m.apply(ctx, &Batch{Values: map[string][]byte{cursorKey: b}})
}

// level lets go what was held, and then what comes. An error of the archive's
// must not keep messages from the user.
func (s *syncer) level(session int, err error) {
	for {
		s.mu.Lock()
		if s.session != session {
			s.mu.Unlock()
			return
		}
		held := s.held
		if s.held = nil; len(held) == 0 {
			s.status.Level, s.status.Err = true, err
			s.mu.Unlock()
			break
		}
		s.mu.Unlock()
		for _, a := range held {
			s.m.arrived(a)
		}
	}
	if err != nil {
		s.m.log.Warn("chat: the archive could not be read", "err", err)
	}
	s.m.notify()
	s.m.outbox.wake()
}

// hold keeps a message back until the archive is level. false tells that it is.
func (s *syncer) hold(a *arrival) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case s.status.Level || s.session == 0:
		return false
	case len(s.held) < maxHeld:
		s.held = append(s.held, a)
	default:
		s.more = true
	}
	return true
}

// isLevel tells whether the outbox may send: what it has sent before is known.
func (s *syncer) isLevel() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.status.Level
}

// soon asks the archive after a while, once for all that comes meanwhile.
func (s *syncer) soon() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.exists || s.timer != nil {
		return
	}
	session := s.session
	s.timer = time.AfterFunc(catchUp, func() {
		s.mu.Lock()
		s.timer = nil
		current := s.session == session && s.status.Level
		s.mu.Unlock()
		if !current || s.m.client.Status().State != xmpp.Online {
			return
		}
		if err := s.read(session); err != nil {
			s.m.log.Info("chat: the archive was not read", "err", err)
		}
	})
}

// trusts tells whether stanza-ids by our account are the server's (XEP-0359 §6).
func (s *syncer) trusts(entity string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.exists && entity == s.m.ledger.account
}
