package siptest

import (
	"slices"
	"strings"
	"time"

	sipgo "github.com/emiago/sipgo/sip"

	"github.com/hoorn-phone/hoorn/internal/sipwire"
	"github.com/hoorn-phone/hoorn/internal/subscribe"
	"github.com/hoorn-phone/hoorn/sip/mwi"
)

// The message-summary event package (RFC 3842): how many messages are in a
// user's mailbox. They are his alone.

func init() {
	eventPackages[mwi.Package] = eventPackage{
		types: []string{mwi.ContentType},
		may:   func(_, _ *User) bool { return false },
		// RFC 3842 §3.11: not more often than once a second.
		interval: time.Second,
		source:   func(l *life, u *User) source { return &mailSource{l: l, user: u} },
	}
}

// mailSource tells what is in one mailbox.
type mailSource struct {
	l    *life
	user *User
	last mailCount
}

// mailCount is how many messages there are.
type mailCount struct{ fresh, old int }

// count counts the messages; ok is false where there is no mailbox.
func (s *subscriber) count() (n mailCount, ok bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.box == nil {
		return n, false
	}
	for _, m := range s.box.messages {
		if m.Old {
			n.old++
		} else {
			n.fresh++
		}
	}
	return n, true
}

func (m *mailSource) Authorize(time.Time, *sipgo.Request) int {
	if _, ok := m.user.state.count(); !ok {
		return sipgo.StatusNotFound
	}
	return sipgo.StatusOK
}

func (m *mailSource) Left(time.Time, *subscribe.Watcher, error) {
	m.l.forgetWatched(mwi.Package, m.user)
}

func (m *mailSource) news(time.Time) bool {
	before := m.last
	m.last, _ = m.user.state.count()
	return m.last != before
}

func (m *mailSource) State(time.Time, *subscribe.Watcher, bool) (string, []byte) {
	m.last, _ = m.user.state.count()
	return mwi.ContentType, m.l.summary(m.user, m.last)
}

// summary is the document about a mailbox (RFC 3842 §3.5). The account is what
// the user dials to hear his messages.
func (l *life) summary(u *User, n mailCount) []byte {
	account := u.aor(l.cfg.Domain)
	if code := l.cfg.Codes[VoicePortal]; code != "" {
		account.User = strings.ReplaceAll(code, "#", "%23")
	}
	s := mwi.Summary{
		Waiting: n.fresh > 0,
		Account: sipwire.FormatURI(&account),
		Counts:  []mwi.Count{{Class: mwi.Voice, New: n.fresh, Old: n.old, UrgentNew: -1, UrgentOld: -1}},
	}
	return s.Bytes()
}

// mailed tells a user's devices of a change in his mailbox, shortly. It may be
// called from anywhere.
func (l *life) mailed(u *User) {
	l.ep.Post(func(now time.Time) {
		l.changed(mwi.Package, u)
		n, ok := u.state.count()
		if last, told := l.lamps[u]; !l.cfg.Events.UnsolicitedMWI || !ok || told && last == n {
			return
		}
		l.lamps[u] = n
		for _, b := range reachable(l.srv.loc.of(u, now), now) {
			l.light(now, b, n)
		}
	})
}

// lightNew tells devices of the user's mailbox that were not registered before.
func (l *life) lightNew(now time.Time, u *User, before, bindings []*binding) {
	n, ok := u.state.count()
	if !l.cfg.Events.UnsolicitedMWI || !ok {
		return
	}
	l.lamps[u] = n
	for _, b := range reachable(bindings, now) {
		if !slices.ContainsFunc(before, func(o *binding) bool { return o.key == b.key }) {
			l.light(now, b, n)
		}
	}
}

// light sends a device a NOTIFY that belongs to no subscription, and says so.
// What the device answers does not matter: there is nothing to end.
func (l *life) light(now time.Time, b *binding, n mailCount) {
	aor := b.user.aor(l.cfg.Domain)
	req := l.outside(sipgo.NOTIFY, b, 70, legKey{l.callID(), l.tag()}, &sipgo.FromHeader{Address: aor}, &sipgo.ToHeader{Address: aor})
	req.AppendHeader(contactOf(b.flow))
	req.AppendHeader(sipgo.NewHeader("Event", mwi.Package))
	req.AppendHeader(sipgo.NewHeader("Subscription-State", "terminated"))
	req.AppendHeader(sipgo.NewHeader("Content-Type", mwi.ContentType))
	req.SetBody(l.summary(b.user, n))
	decorate(req)
	l.send(now, b.flow, req, func(time.Time, int, *sipgo.Response) {})
}
