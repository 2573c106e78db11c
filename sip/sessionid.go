package sip

import (
	"strings"

	sipgo "github.com/emiago/sipgo/sip"

	"github.com/hoorn-phone/hoorn/internal/sipwire"
)

// SessionID names a call from end to end, through servers that change its
// Call-ID (RFC 7989): each side draws a UUID, in hexadecimal without hyphens.
type SessionID struct {
	Local string
	// Remote is what the peer said last; "" before, and where he says nothing.
	Remote string
}

// nilUUID stands for a side that is not known yet (RFC 7989 §5).
const nilUUID = "00000000000000000000000000000000"

// maxSessions bounds the peers of one call whose UUIDs are kept: its forks,
// and those it was moved to.
const maxSessions = 64

// session is the Session-ID of a call. Our half stays the same whatever
// becomes of the call; a dialog's other half is that of its peer, so that what a moved
// call still says to its former peer names the session as before (RFC 7989 §6).
type session struct {
	local string
	last  string            // of the peer that spoke last
	peers map[string]string // by Call-ID and the peer's tag
}

// sessionID is the Session-ID of the call as its app sees it.
func (c *Call) sessionID() SessionID {
	c.mu.Lock()
	defer c.mu.Unlock()
	return SessionID{Local: c.session.local, Remote: c.session.last}
}

// learnSession takes the peer's half of the Session-ID from a message of his.
// In the loop, as all below.
func (c *Call) learnSession(m sipgo.Message, peerTag string) {
	uuid, ok := parseSessionID(sipwire.Header(m, "Session-ID"))
	if !ok || uuid == nilUUID {
		return
	}
	key := sessionKey(m, peerTag)
	c.mu.Lock()
	defer c.mu.Unlock()
	if _, known := c.session.peers[key]; !known && len(c.session.peers) >= maxSessions {
		return
	}
	if c.session.peers == nil {
		c.session.peers = make(map[string]string)
	}
	c.session.peers[key], c.session.last = uuid, uuid
}

// saySession puts the Session-ID into a message of ours, unless it is there.
func (c *Call) saySession(m sipgo.Message) {
	if c.ua.cfg.NoSessionID || sipwire.Find(m, "Session-ID") != nil {
		return
	}
	peerTag := sipwire.FromTag(m) // of a response: who asked
	if _, ok := m.(*sipgo.Request); ok {
		peerTag = sipwire.ToTag(m)
	}
	c.mu.Lock()
	if c.session.local == "" {
		c.session.local = c.ua.ep.UUID()
	}
	local, remote := c.session.local, ""
	if peerTag != "" {
		// An INVITE that begins a dialog speaks to somebody new, also where
		// the call had a peer before: "the nil UUID" (RFC 7989 §6).
		remote = c.session.peers[sessionKey(m, peerTag)]
	}
	c.mu.Unlock()
	m.AppendHeader(sessionHeader(local, remote))
}

func sessionHeader(local, remote string) sipgo.Header {
	if remote == "" {
		remote = nilUUID
	}
	return sipgo.NewHeader("Session-ID", local+";remote="+remote)
}

func sessionKey(m sipgo.Message, peerTag string) string {
	return sipwire.Header(m, "Call-ID") + "\x00" + peerTag
}

// parseSessionID reads the sender's half, which is the other half for us. Its
// hexadecimal is lower-case (RFC 7989 §5); who writes it otherwise means the
// same. It is all there was before RFC 7989 (RFC 7329; §11).
func parseSessionID(value string) (uuid string, ok bool) {
	uuid, _, _ = strings.Cut(value, ";")
	uuid = strings.ToLower(strings.TrimSpace(uuid))
	if len(uuid) != len(nilUUID) || strings.Trim(uuid, "0123456789abcdef") != "" {
		return "", false
	}
	return uuid, true
}

// saySession puts a Session-ID into a response to a request with one, where no
// call of ours gives it.
func (ua *UA) saySession(res *sipgo.Response, req *sipgo.Request) {
	if set := ua.find(req); set != nil {
		set.c.saySession(res)
		return
	}
	if remote, ok := parseSessionID(sipwire.Header(req, "Session-ID")); ok && !ua.cfg.NoSessionID {
		res.AppendHeader(sessionHeader(ua.ep.UUID(), remote))
	}
}
