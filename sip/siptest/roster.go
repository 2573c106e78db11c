package siptest

import (
	"reflect"
	"slices"
	"time"

	sipgo "github.com/emiago/sipgo/sip"

	"github.com/hoorn-phone/hoorn/internal/sipwire"
	"github.com/hoorn-phone/hoorn/internal/subscribe"
	"github.com/hoorn-phone/hoorn/internal/transaction"
	"github.com/hoorn-phone/hoorn/sip/confinfo"
)

// roster tells who takes part in a conference (RFC 4575).
type roster struct {
	*subscribe.Notifier
	c    *conference
	told map[*subscribe.Watcher][]confinfo.User
}

// subscribed takes a SUBSCRIBE to the conference: who takes part may, and who
// has made it.
func (c *conference) subscribed(now time.Time, s *transaction.Server, who *User) {
	l := c.l
	event, ok := sipwire.EventOf(s.Request())
	switch {
	case !ok || event.Package != confinfo.Package:
		l.respond(now, s, 489, sipgo.NewHeader("Allow-Events", confinfo.Package))
		return
	case who != c.creator && !c.has(who):
		l.respond(now, s, sipgo.StatusForbidden)
		return
	}
	if c.roster == nil {
		c.roster = &roster{c: c, told: make(map[*subscribe.Watcher][]confinfo.User)}
		c.roster.Notifier = l.notify(confinfo.Package, eventPackage{types: []string{confinfo.ContentType}}, c.roster, c).Notifier
	}
	c.roster.OnSubscribe(now, s)
}

// changed tells who watches the conference that something is new, once what
// happens at the moment is complete.
func (c *conference) changed() {
	if c.roster == nil || c.stale || c.over {
		return
	}
	c.stale = c.l.ep.Post(func(now time.Time) {
		c.stale = false
		if c.over {
			return
		}
		users := c.users()
		for _, w := range c.roster.Watchers() {
			if !reflect.DeepEqual(c.roster.told[w], users) {
				w.Changed(now)
			}
		}
	})
}

// closeTo ends the subscriptions of a user who takes part no longer.
func (c *conference) closeTo(now time.Time, u *User) {
	if c.roster == nil || u == c.creator || c.has(u) {
		return
	}
	for _, w := range c.roster.Watchers() {
		if uri, _ := w.From(); c.l.srv.users.find(uri.User) == u {
			w.End(now, "rejected", 0)
		}
	}
}

func (r *roster) Authorize(time.Time, *sipgo.Request) int { return sipgo.StatusOK }

func (r *roster) Left(_ time.Time, w *subscribe.Watcher, _ error) { delete(r.told, w) }

// State is everybody, or who has changed since this subscriber was told last
// (RFC 4575 §4.4): each user whole, and those who have gone as deleted. The last of all
// says that the conference is.
func (r *roster) State(_ time.Time, w *subscribe.Watcher, full bool) (string, []byte) {
	uri := r.c.uri()
	doc := confinfo.Document{Entity: sipwire.FormatURI(&uri), Version: w.Version(), Part: confinfo.Full}
	if r.c.over {
		doc.Part = confinfo.Deleted
		return confinfo.ContentType, doc.Bytes()
	}
	before := r.told[w]
	users := r.c.users()
	r.told[w] = users
	n, active := len(users), true
	doc.Status = &confinfo.Status{UserCount: &n, Active: &active}
	doc.Users = &confinfo.Users{Part: confinfo.Full, User: users}
	if full {
		doc.Description = &confinfo.Description{MaxUsers: r.c.l.cfg.Conference.MaxMembers}
		return confinfo.ContentType, doc.Bytes()
	}
	doc.Part = confinfo.Partial
	doc.Users = &confinfo.Users{Part: confinfo.Partial}
	for _, u := range users {
		if i := userAt(before, u.Entity); i < 0 || !reflect.DeepEqual(before[i], u) {
			doc.Users.User = append(doc.Users.User, u)
		}
	}
	for _, u := range before {
		if userAt(users, u.Entity) < 0 {
			doc.Users.User = append(doc.Users.User, confinfo.User{Entity: u.Entity, Part: confinfo.Deleted})
		}
	}
	return confinfo.ContentType, doc.Bytes()
}

func userAt(all []confinfo.User, entity string) int {
	return slices.IndexFunc(all, func(u confinfo.User) bool { return u.Entity == entity })
}

// users are those who take part or are called, in the order they came.
func (c *conference) users() []confinfo.User {
	var all []confinfo.User
	add := func(u *User, e confinfo.Endpoint) {
		aor := u.aor(c.l.cfg.Domain)
		entity := sipwire.FormatURI(&aor)
		i := userAt(all, entity)
		if i < 0 {
			i = len(all)
			all = append(all, confinfo.User{Entity: entity, Part: confinfo.Full, DisplayText: u.DisplayName})
		}
		all[i].Endpoints = append(all[i].Endpoints, e)
	}
	for _, s := range c.seats {
		add(s.e.user, s.endpoint())
	}
	for _, i := range c.calling {
		aor := i.b.callee.aor(c.l.cfg.Domain)
		e := confinfo.Endpoint{Entity: sipwire.FormatURI(&aor), Part: confinfo.Full, Status: confinfo.DialingOut, Joining: "dialed-out"}
		if i.status > sipgo.StatusTrying {
			e.Status = confinfo.Alerting
		}
		add(i.b.callee, e)
	}
	return all
}

// endpoint is a party's device (RFC 4575 §5.7). Its streams are seen from there.
func (s *seat) endpoint() confinfo.Endpoint {
	e := confinfo.Endpoint{
		Entity: s.e.m.ID(), Part: confinfo.Full, Status: confinfo.DialingIn, Joining: "dialed-in",
		Joined: &confinfo.Action{When: s.since},
	}
	if s.e.at != nil {
		e.Entity = s.e.at.target(s.e.user, s.c.l.cfg.Domain)
	}
	if s.invited {
		e.Joining = "dialed-out"
	}
	if !s.in {
		return e
	}
	stream := confinfo.Media{ID: "1", Type: "audio", Status: "sendrecv"}
	e.Status = confinfo.Connected
	switch {
	case s.held():
		e.Status, stream.Status = confinfo.OnHold, "inactive"
	case s.isMuted():
		e.Status, stream.Status = confinfo.MutedViaFocus, "recvonly"
	}
	e.Media = []confinfo.Media{stream}
	return e
}
