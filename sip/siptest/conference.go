package siptest

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"time"

	sipgo "github.com/emiago/sipgo/sip"

	"github.com/hoorn-phone/hoorn/internal/call"
	"github.com/hoorn-phone/hoorn/internal/sipwire"
	"github.com/hoorn-phone/hoorn/internal/timerq"
	"github.com/hoorn-phone/hoorn/internal/transaction"
	"github.com/hoorn-phone/hoorn/media"
	"github.com/hoorn-phone/hoorn/sip/offeranswer"
)

// Conferences says how the conference factory works (RFC 4579 §3.2).
type Conferences struct {
	// Off does without: nobody answers at the factory's URI.
	Off bool
	// Factory is the user part of the factory's URI; "" is "conference".
	Factory string
	// Number also reaches the factory, unless a service number or a user has
	// it; "" is 9010.
	Number string
	// Redirect answers an INVITE to the factory with 302 and the URI of the new
	// conference, in place of a 200 that has it as Contact. Who does not come
	// within a minute finds it gone.
	Redirect bool
	// EndsWithCreator ends a conference when who has made it leaves it.
	// Otherwise it ends with the last party.
	EndsWithCreator bool
	// MaxMembers bounds the parties of a conference; more get 486. 0 is 32.
	MaxMembers int
	// MaxConferences bounds the conferences; for more the factory answers
	// 503. 0 is 100.
	MaxConferences int
}

const (
	defaultFactory        = "conference"
	defaultFactoryNumber  = "9010"
	defaultMaxMembers     = 32
	defaultMaxConferences = 100

	// lobbyTime is how long a conference waits for its first party.
	lobbyTime = time.Minute
)

func (c *Conferences) complete() {
	if c.Factory == "" {
		c.Factory = defaultFactory
	}
	if c.Number == "" {
		c.Number = defaultFactoryNumber
	}
	if c.MaxMembers <= 0 {
		c.MaxMembers = defaultMaxMembers
	}
	if c.MaxConferences <= 0 {
		c.MaxConferences = defaultMaxConferences
	}
}

// conference is a focus with its mixer (RFC 4579 §3.1). In the loop.
type conference struct {
	l       *life
	id      string // user part of its URI
	creator *User
	since   time.Time
	mixer   *media.Mixer
	seats   []*seat       // in the order they came
	calling []*invitation // who is called into it
	over    bool
	lobby   timerq.Timer // until its first party

	roster *roster // nil: nobody watches
	stale  bool    // the roster is to be told shortly
}

// seat is one party of a conference.
type seat struct {
	c       *conference
	e       *end
	since   time.Time
	invited bool // the lab has called him
	in      bool // he has been answered, or has answered

	replaces *end // whose place he takes; nil: nobody's

	mu    sync.Mutex
	sess  *media.Session // in the mixer
	muted bool
}

// meeting takes a call to the factory, or to a conference. It returns false if
// the number is neither.
func (l *life) meeting(now time.Time, s *transaction.Server, caller *User, number string) bool {
	if c := l.conferences[number]; c != nil {
		c.join(now, s, caller, nil)
		return true
	}
	if !l.isFactory(number) {
		return false
	}
	c := l.newConference(now, caller)
	switch {
	case c == nil:
		l.respond(now, s, sipgo.StatusServiceUnavailable)
	case l.cfg.Conference.Redirect:
		c.lobby.F = c.settle
		l.ep.Q.Set(&c.lobby, now.Add(lobbyTime))
		l.respond(now, s, sipgo.StatusMovedTemporarily, c.contact())
	default:
		c.join(now, s, caller, nil)
		c.settle(now)
	}
	return true
}

func (l *life) isFactory(number string) bool {
	cfg := &l.cfg.Conference
	return !cfg.Off && (number == cfg.Factory || plainNumber(number) == cfg.Number && l.srv.users.find(number) == nil)
}

// newConference makes one (RFC 4579 §5.4). It returns nil where there are too
// many.
func (l *life) newConference(now time.Time, creator *User) *conference {
	if len(l.conferences) >= l.cfg.Conference.MaxConferences {
		return nil
	}
	m, err := l.eng.NewMixer()
	if err != nil {
		return nil // the lab is closing
	}
	c := &conference{l: l, id: "conf-" + l.ep.ID(10), creator: creator, since: now, mixer: m.(*media.Mixer)}
	l.conferences[c.id] = c
	return c
}

// conferenceAt is the conference that a URI names, nil if there is none.
func (l *life) conferenceAt(uri *sipgo.Uri) *conference {
	if uri.Scheme == "tel" || !l.ours(uri) {
		return nil
	}
	return l.conferences[uri.User]
}

func (c *conference) uri() sipgo.Uri {
	return sipgo.Uri{Scheme: "sip", User: c.id, Host: c.l.cfg.Domain}
}

// contact is the conference URI as a Contact: isfocus tells that it is one
// (RFC 4579 §4).
func (c *conference) contact() *sipgo.ContactHeader {
	return &sipgo.ContactHeader{Address: c.uri(), Params: sipgo.HeaderParams{{K: "isfocus"}}}
}

// full tells whether there is no room for another party.
func (c *conference) full() bool {
	return len(c.seats)+len(c.calling) >= c.l.cfg.Conference.MaxMembers
}

// conference is the one that the end is in, or is called into; nil: none.
func (e *end) conference() *conference {
	switch b := e.b; {
	case b == nil:
	case b.seat != nil:
		return b.seat.c
	case b.invite != nil:
		return b.invite.c
	}
	return nil
}

// sit gives an end a place, which is its bridge's from now on.
func (c *conference) sit(now time.Time, b *bridge, e *end) *seat {
	s := &seat{c: c, e: e, since: now}
	b.seat = s
	c.seats = append(c.seats, s)
	c.l.ep.Q.Stop(&c.lobby)
	return s
}

// join answers who calls the conference (RFC 4579 §5.1), in the place of another
// party where old is one (RFC 3891).
func (c *conference) join(now time.Time, s *transaction.Server, caller *User, old *end) {
	l := c.l
	if c.full() && old == nil {
		l.respond(now, s, sipgo.StatusBusyHere)
		return
	}
	uri := c.uri()
	b := &bridge{l: l, id: l.uuid(), accepted: true}
	e := b.newEnd(&leg{headers: []sipgo.Header{
		sipgo.NewHeader("P-Asserted-Identity", "<"+sipwire.FormatURI(&uri)+">"),
		sipgo.NewHeader("X-BroadWorks-Correlation-Info", b.id),
		sipgo.NewHeader("Allow-Events", "conference"),
	}}, caller)
	b.a = e
	if !l.incoming(now, s, e.leg) {
		return
	}
	st := c.sit(now, b, e)
	st.replaces = old
	e.sound(st.play)
	e.m.Answer(now, offeranswer.Options{}, func(time.Time, error) {}) // an error ends the leg
}

// take moves an end that talks to somebody into the conference. Its partner
// gets BYE once the device has agreed; if it does not, it stays where it was.
func (c *conference) take(now time.Time, e *end, done func(now time.Time, status int)) {
	l, from := c.l, e.b
	ready := func() bool { return c.over || !e.alive() || e.b != from || e.free() }
	l.when(now, ready, func(now time.Time, ok bool) {
		switch {
		case c.over || !e.alive() || e.b != from:
			done(now, sipgo.StatusCallTransactionDoesNotExists)
			return
		case !ok:
			done(now, sipgo.StatusRequestPending)
			return
		case c.full():
			done(now, sipgo.StatusBusyHere)
			return
		}
		b := &bridge{l: l, a: e, id: l.uuid()}
		s := c.sit(now, b, e)
		b.host(now, e, s.play, func(now time.Time, err error) {
			if err != nil {
				done(now, statusOf(err))
				s.leave(now)
				return
			}
			s.enter(now)
			done(now, sipgo.StatusOK)
		})
	})
}

// play has the party in the mixer until ctx ends.
func (s *seat) play(ctx context.Context, sess *media.Session) error {
	if err := s.mix(sess); err != nil {
		return err
	}
	<-ctx.Done()
	return s.c.mixer.Remove(sess)
}

func (s *seat) mix(sess *media.Session) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := s.c.mixer.Add(sess); err != nil {
		return err
	}
	s.sess = sess
	return s.c.mixer.Mute(sess, s.muted)
}

// mute keeps what the party says from the others.
func (s *seat) mute(on bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.muted = on
	if s.sess != nil {
		_ = s.c.mixer.Mute(s.sess, on) // an error: he is not mixed any more
	}
}

func (s *seat) isMuted() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.muted
}

// held tells whether the party has the conference on hold.
func (s *seat) held() bool {
	heard, _ := s.e.side.latest()
	return holds(heard)
}

// event is what happens to the party's leg.
func (s *seat) event(now time.Time, ev call.Event) {
	switch {
	case ev.Kind == call.StateChanged && ev.State == call.Established && s.e.b.moving == nil:
		s.enter(now)
	case ev.Kind == call.StateChanged && ev.State == call.Ended:
		s.leave(now)
	case ev.Kind == call.MediaChanged:
		s.c.changed()
	}
}

// enter says that the party is in.
func (s *seat) enter(now time.Time) {
	s.in = true
	if old := s.replaces; old.alive() {
		s.replaces = nil
		old.m.Hangup(now)
	}
	s.c.changed()
}

// leave says that it has gone, and lets the conference end where that is so.
func (s *seat) leave(now time.Time) {
	c := s.c
	i := slices.Index(c.seats, s)
	if i < 0 {
		return
	}
	c.seats = slices.Delete(c.seats, i, i+1)
	c.changed()
	c.closeTo(now, s.e.user)
	if c.l.cfg.Conference.EndsWithCreator && s.in && s.e.user == c.creator && !c.has(c.creator) {
		c.end(now)
		return
	}
	c.settle(now)
}

// has tells whether a user takes part.
func (c *conference) has(u *User) bool {
	return slices.ContainsFunc(c.seats, func(s *seat) bool { return s.e.user == u })
}

// settle ends the conference if nobody is left, or expected.
func (c *conference) settle(now time.Time) {
	if len(c.seats) == 0 && len(c.calling) == 0 {
		c.end(now)
	}
}

// end ends the conference for all (RFC 4579 §5.12).
func (c *conference) end(now time.Time) {
	if c.over {
		return
	}
	c.over = true
	c.l.ep.Q.Stop(&c.lobby)
	delete(c.l.conferences, c.id)
	for _, i := range slices.Clone(c.calling) {
		i.failed(now, sipgo.StatusGone)
	}
	for _, s := range slices.Clone(c.seats) {
		s.e.m.Hangup(now)
	}
	if c.roster != nil {
		c.roster.Close(now, "noresource")
	}
	_ = c.mixer.Close()
}

// checkName refuses a user whose name is that of the factory.
func (c *Conferences) checkName(name string) error {
	if !c.Off && name == c.Factory {
		return fmt.Errorf("siptest: User.Name %q is the conference factory", name)
	}
	return nil
}
