package xmpptest

import (
	"strings"
	"unicode/utf8"

	"mellium.im/xmpp/jid"
)

// addr is an address that can be compared. Its local and domain parts are as RFC 7622
// enforces them. Its resource need not be: servers relay those that PRECIS refuses, and clients have to live with that.
type addr struct{ local, domain, resource string }

const maxPart = 1023 // bytes, RFC 7622 §3.1

func parseAddr(s string) (addr, bool) {
	rest, resource, full := strings.Cut(s, "/")
	local, domain, at := strings.Cut(rest, "@")
	if !at {
		local, domain = "", rest
	}
	if domain == "" || at && local == "" || full && !validResource(resource) {
		return addr{}, false
	}
	j, err := jid.New(local, domain, "")
	if err != nil {
		return addr{}, false
	}
	return addr{j.Localpart(), strings.ToLower(j.Domainpart()), resource}, true
}

func validResource(s string) bool {
	return s != "" && len(s) <= maxPart && utf8.ValidString(s) && strings.IndexFunc(s, func(r rune) bool { return r < ' ' || r == 0x7F }) < 0
}

func (a addr) bare() addr     { return addr{a.local, a.domain, ""} }
func (a addr) isBare() bool   { return a.resource == "" }
func (a addr) isDomain() bool { return a.local == "" && a.resource == "" }
func (a addr) isZero() bool   { return a == addr{} }

func (a addr) with(resource string) addr { return addr{a.local, a.domain, resource} }

func (a addr) String() string {
	s := a.domain
	if a.local != "" {
		s = a.local + "@" + s
	}
	if a.resource != "" {
		s += "/" + a.resource
	}
	return s
}
