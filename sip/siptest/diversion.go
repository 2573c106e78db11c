package siptest

import (
	"fmt"
	"slices"
	"strings"

	sipgo "github.com/emiago/sipgo/sip"

	"github.com/hoorn-phone/hoorn/internal/sipwire"
)

// maxDiversions bounds how often a call is forwarded.
const maxDiversions = 5

// cause is why a call does not go where it was meant to.
type cause struct {
	reason string // of RFC 5806
	number int    // its cause in History-Info (RFC 7544 §3.2)
	status int    // what the caller gets if it goes nowhere else
}

var (
	unconditional = cause{"unconditional", 302, sipgo.StatusTemporarilyUnavailable}
	userBusy      = cause{"user-busy", 486, sipgo.StatusBusyHere}
	doNotDisturb  = cause{"do-not-disturb", 404, sipgo.StatusBusyHere}
	unanswered    = cause{"no-answer", 408, sipgo.StatusTemporarilyUnavailable}
	unavailable   = cause{"unavailable", 503, sipgo.StatusTemporarilyUnavailable}
)

// diversion is one user who has forwarded a call.
type diversion struct {
	user *User
	why  cause
}

// trail is who forwarded a call, the first one first.
type trail []diversion

// by tells whether a user has forwarded the call already.
func (t trail) by(u *User) bool {
	return slices.ContainsFunc(t, func(d diversion) bool { return d.user == u })
}

// and is the trail with one more. It shares nothing with t.
func (t trail) and(u *User, why cause) trail { return append(slices.Clip(t), diversion{u, why}) }

// headers tell where a call comes from that is on its way to a user: Diversion,
// "the topmost" being the most recent (RFC 5806), and History-Info, whose
// first entry is whom it was meant for (RFC 7044 §5). They say nothing of a
// call that was not forwarded.
func (t trail) headers(to *User, domain string) []sipgo.Header {
	if len(t) == 0 {
		return nil
	}
	var hs []sipgo.Header
	for _, d := range slices.Backward(t) {
		hs = append(hs, sipgo.NewHeader("Diversion", d.user.identity(domain)+";reason="+d.why.reason+";counter=1"))
	}
	entries := make([]string, 0, len(t)+1)
	index := "1"
	for i, target := range append(t, diversion{user: to}) {
		uri := target.user.uri(domain)
		entry := ""
		if i > 0 {
			// What made the call go there (RFC 4458 §2, RFC 7544 §3.2).
			uri.UriParams = append(uri.UriParams, sipgo.HeaderKV{K: "cause", V: fmt.Sprint(t[i-1].why.number)})
			entry = ";mp=" + strings.TrimSuffix(index, ".1")
		}
		text := sipwire.FormatURI(&uri)
		if i < len(t) && target.why != unconditional {
			// What became of it there (RFC 7044 §10.2).
			text += "?Reason=SIP%3Bcause%3D" + fmt.Sprint(target.why.number)
		}
		entries = append(entries, "<"+text+">;index="+index+entry)
		index += ".1"
	}
	return append(hs, sipgo.NewHeader("History-Info", strings.Join(entries, ",")))
}
