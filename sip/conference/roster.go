package conference

import (
	"context"
	"errors"
	"slices"
	"time"

	sipgo "github.com/emiago/sipgo/sip"

	"github.com/hoorn-phone/hoorn/internal/sipwire"
	"github.com/hoorn-phone/hoorn/sip"
	"github.com/hoorn-phone/hoorn/sip/confinfo"
)

// follow keeps the roster that the server tells (RFC 4575). Without it the
// conference is no worse: those who were brought in are known.
func (n *network) follow() {
	sub, err := n.ua.Subscribe(n.c.ctx, n.uri, &sip.SubscribeOptions{
		Event: confinfo.Package, Accept: []string{confinfo.ContentType},
	})
	if err != nil {
		if n.c.ctx.Err() == nil {
			n.c.log.Warn("no roster of the conference", "conference", n.uri, "error", err)
		}
		return
	}
	var state confinfo.State
	since := make(map[string]time.Time)
	notifier, asked := 0, false
	for note := range sub.Notifications(n.c.ctx) {
		if note.Err != nil {
			continue // what was known is the best that is
		}
		if note.Notifier != notifier {
			state.Reset()
			notifier, asked = note.Notifier, false
		}
		if len(note.Body) == 0 {
			continue
		}
		d, err := confinfo.Parse(note.Body)
		if err == nil {
			err = state.Apply(d)
		}
		switch {
		case errors.Is(err, confinfo.ErrGap):
			// "it SHOULD ... refresh the subscription" (RFC 4575 §4.6); once,
			// or a server that never tells all would be asked forever.
			if !asked {
				asked = sub.Refresh(n.c.ctx) == nil
			}
			continue
		case err != nil && !errors.Is(err, confinfo.ErrFull):
			n.c.log.Warn("a roster that cannot be used", "conference", n.uri, "error", err)
			continue
		}
		asked = asked && !state.Complete()
		people := n.others(state.Users(), since, note.Time)
		n.c.mu.Lock()
		n.told, n.people = true, people
		n.c.change()
		n.c.mu.Unlock()
	}
	// It is over, or we have left. The machine says so to the server, and does
	// not need anybody to wait for it.
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	_ = sub.Close(ctx)
}

// others are the participants whom a roster names, without this user.
func (n *network) others(users []confinfo.User, since map[string]time.Time, now time.Time) []Participant {
	var out []Participant
	seen := make(map[string]bool, len(users))
	for _, u := range users {
		in := slices.DeleteFunc(slices.Clone(u.Endpoints), func(e confinfo.Endpoint) bool { return !present(e) })
		if sameURI(u.Entity, n.ua.AOR()) {
			if in = n.withoutMe(in); len(in) == 0 {
				continue
			}
		} else if len(in) == 0 && len(u.Endpoints) > 0 {
			continue
		}
		seen[u.Entity] = true
		if _, ok := since[u.Entity]; !ok {
			since[u.Entity] = now
		}
		p := Participant{ID: u.Entity, Party: sip.Party{URI: u.Entity, Name: u.DisplayText}, Since: since[u.Entity]}
		for i, e := range in {
			if e.Joined != nil && !e.Joined.When.IsZero() && e.Joined.When.Before(p.Since) {
				p.Since = e.Joined.When
			}
			// Somebody with two devices is muted where both are.
			p.Muted = (i == 0 || p.Muted) && e.Status == confinfo.MutedViaFocus
			p.Held.Remote = (i == 0 || p.Held.Remote) && e.Status == confinfo.OnHold
		}
		out = append(out, p)
	}
	for id := range since {
		if !seen[id] {
			delete(since, id) // who comes again comes anew
		}
	}
	return out
}

// present tells whether an endpoint takes part, and is not on its way in or out.
func present(e confinfo.Endpoint) bool {
	switch e.Status {
	case "", confinfo.Connected, confinfo.OnHold, confinfo.MutedViaFocus:
		return true
	}
	return false
}

// withoutMe leaves this device out of the user's own: by its dialog where the
// server names them, else it is the first one.
func (n *network) withoutMe(es []confinfo.Endpoint) []confinfo.Endpoint {
	i := slices.IndexFunc(es, func(e confinfo.Endpoint) bool { return e.Call != nil && e.Call.CallID == n.call.ID() })
	if i < 0 {
		i = 0
	}
	return slices.Delete(es, min(i, len(es)), min(i+1, len(es)))
}

func sameURI(a, b string) bool {
	var x, y sipgo.Uri
	if sipgo.ParseUri(a, &x) != nil || sipgo.ParseUri(b, &y) != nil {
		return a == b
	}
	return sipwire.SameURI(&x, &y)
}
