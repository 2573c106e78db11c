package sip

import (
	"context"
	"strings"
	"time"

	"github.com/hoorn-phone/hoorn/internal/sipwire"
)

// HasDialog tells whether one of this user agent's calls lives in a dialog,
// given as the account's side sees it. A Call-ID alone will do where the tags
// are not known. False after Close.
func (ua *UA) HasDialog(d Dialog) bool {
	has := false
	_ = ua.ep.Run(context.Background(), func(time.Time) {
		for key := range ua.calls {
			if key.id == d.CallID && (d.LocalTag == "" || d.LocalTag == key.tag) {
				has = true
				return
			}
		}
	})
	return has
}

// IsThisDevice tells whether a URI leads to this user agent rather than to
// another device of the account: it is one of its GRUUs (RFC 5627), names its
// instance, or is the Contact of one of its connections. False after Close.
func (ua *UA) IsThisDevice(uri string) bool {
	u, err := sipwire.ParseURI(uri)
	if err != nil {
		return false
	}
	if gr, ok := u.UriParams.Get("gr"); ok && strings.EqualFold(gr, ua.acct.instance) {
		return true
	}
	is := false
	_ = ua.ep.Run(context.Background(), func(now time.Time) {
		for _, f := range ua.flows {
			if f.reg != nil {
				if b, ok := f.reg.Binding(now); ok && (b.PubGRUU != nil && sipwire.SameURI(&u, b.PubGRUU) || b.TempGRUU != nil && sipwire.SameURI(&u, b.TempGRUU)) {
					is = true
				}
			}
			if f.flow != nil {
				c := ua.contactURI(f.flow)
				is = is || u.Host == c.Host && u.Port == c.Port
			}
		}
	})
	return is
}
