package siptest

import (
	"slices"
	"strings"
	"time"

	sipgo "github.com/emiago/sipgo/sip"

	"github.com/hoorn-phone/hoorn/internal/endpoint"
	"github.com/hoorn-phone/hoorn/internal/sipwire"
	"github.com/hoorn-phone/hoorn/internal/subscribe"
	"github.com/hoorn-phone/hoorn/internal/timerq"
	"github.com/hoorn-phone/hoorn/internal/transaction"
	"github.com/hoorn-phone/hoorn/internal/transport"
)

// maxNotifiers bounds what is watched in the lab.
const maxNotifiers = 10_000

// watched names something that has subscribers: an event package, and whose.
type watched struct {
	pkg  string
	user *User
}

// eventPackage is one that the lab serves for its users.
type eventPackage struct {
	types []string
	// may tells whether a user may watch another; one may always watch oneself.
	may func(who, whom *User) bool
	// interval is how long there is between two NOTIFYs; 0: as they come.
	interval time.Duration
	// source makes what tells a user's state.
	source func(l *life, u *User) source
}

// source tells the state of something.
type source interface {
	subscribe.Source
	// news tells whether the state is another one than when it was asked last.
	news(now time.Time) bool
}

// notifier is a source with its subscribers.
type notifier struct {
	*subscribe.Notifier
	src source
}

// eventPackages are those that the lab serves, by name.
var eventPackages = map[string]eventPackage{}

func allowEvents() string {
	var names []string
	for name := range eventPackages {
		names = append(names, name)
	}
	slices.Sort(names)
	return strings.Join(names, ",")
}

// subscribed takes a SUBSCRIBE that makes a dialog (RFC 6665 §4.2.1).
func (l *life) subscribed(now time.Time, s *transaction.Server) {
	who, ok := l.callerOf(now, s)
	if !ok {
		return
	}
	req := s.Request()
	if c := l.conferenceAt(&req.Recipient); c != nil {
		c.subscribed(now, s, who)
		return
	}
	event, ok := sipwire.EventOf(req)
	pkg, served := eventPackages[event.Package]
	if !ok || !served {
		l.respond(now, s, 489, sipgo.NewHeader("Allow-Events", allowEvents()))
		return
	}
	number := req.Recipient.User
	if req.Recipient.Scheme == "tel" {
		number = req.Recipient.Raw()
	}
	whom := l.srv.users.find(number)
	switch {
	case req.Recipient.Scheme != "tel" && !l.ours(&req.Recipient), whom == nil:
		l.respond(now, s, sipgo.StatusNotFound)
		return
	case who != whom && !pkg.may(who, whom):
		l.respond(now, s, sipgo.StatusForbidden)
		return
	}
	key := watched{event.Package, whom}
	w := l.watched[key]
	if w == nil {
		if len(l.watched) >= maxNotifiers {
			l.respond(now, s, sipgo.StatusServiceUnavailable)
			return
		}
		src := pkg.source(l, whom)
		w = l.notify(event.Package, pkg, src, nil)
		w.src = src
		l.watched[key] = w
	}
	w.OnSubscribe(now, s)
	if len(w.Watchers()) == 0 {
		delete(l.watched, key)
	}
}

// notify makes the notifier of one resource, which may be a conference.
func (l *life) notify(name string, pkg eventPackage, src subscribe.Source, c *conference) *notifier {
	e := &watchEnv{l: l, n: new(notifier), c: c}
	e.n.Notifier = subscribe.NewNotifier(e, subscribe.NotifierConfig{
		Package: name, Types: pkg.types, Interval: pkg.interval, T1: l.cfg.Timers.T1,
		Min: l.cfg.Events.MinExpires, Max: l.cfg.Events.MaxExpires,
	}, src)
	return e.n
}

// forgetWatched lets go of a notifier that nobody watches any more.
func (l *life) forgetWatched(pkg string, u *User) {
	key := watched{pkg, u}
	if n := l.watched[key]; n != nil && len(n.Watchers()) == 0 {
		delete(l.watched, key)
	}
}

// changed tells who watches a user that something is new, once what happens at the
// moment is complete.
func (l *life) changed(pkg string, u *User) {
	key := watched{pkg, u}
	if l.watched[key] == nil || l.stale[key] {
		return
	}
	l.stale[key] = l.ep.Post(func(now time.Time) {
		delete(l.stale, key)
		if n := l.watched[key]; n != nil && n.src.news(now) {
			n.Changed(now)
		}
	})
}

// watchEnv is the lab as a notifier sees it.
type watchEnv struct {
	l *life
	n *notifier
	c *conference // whose URI is the Contact; nil: the lab's address is
}

func (e *watchEnv) Request(now time.Time, flow transaction.Flow, req *sipgo.Request, h subscribe.RequestHandler) {
	f, _ := flow.(*transport.Flow)
	o := &endpoint.Outgoing{Req: req, Flow: f, Pinned: true, OnFailed: h.Failed, Prepare: e.l.branch}
	o.OnResponse = func(now time.Time, r *sipgo.Response) { h.Response(now, o.Flow, r) }
	e.l.ep.Send(now, o)
}

func (e *watchEnv) Contact(flow transaction.Flow) *sipgo.ContactHeader {
	if e.c != nil {
		return e.c.contact()
	}
	f, _ := flow.(*transport.Flow)
	if f == nil {
		return nil
	}
	return contactOf(f)
}

func (e *watchEnv) Decorate(m sipgo.Message) { decorate(m) }
func (e *watchEnv) Timers() *timerq.Queue    { return &e.l.ep.Q }
func (e *watchEnv) ID(int) string            { return e.l.tag() }
func (e *watchEnv) Float() float64           { return e.l.ep.Float() }

func (e *watchEnv) Dialog(callID, tag string, ours bool) {
	if ours {
		e.l.watching[legKey{callID, tag}] = e.n
	} else {
		delete(e.l.watching, legKey{callID, tag})
	}
}

// resubscribed takes a SUBSCRIBE within a dialog of its own. It returns false
// if there is none.
func (l *life) resubscribed(now time.Time, s *transaction.Server) bool {
	req := s.Request()
	id := req.CallID()
	if req.Method != sipgo.SUBSCRIBE || id == nil {
		return false
	}
	n := l.watching[legKey{string(*id), sipwire.ToTag(req)}]
	if n == nil {
		return false
	}
	if l.cfg.Auth.InDialog {
		if _, ok := l.authenticate(now, s); !ok {
			return true
		}
	}
	n.OnSubscribe(now, s)
	return true
}
