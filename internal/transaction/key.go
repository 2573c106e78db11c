package transaction

import (
	"strconv"
	"strings"
	"time"

	sipgo "github.com/emiago/sipgo/sip"

	"github.com/hoorn-phone/hoorn/internal/sipwire"
)

const cookie = "z9hG4bK"

// hasCookie tells whether a branch is one of RFC 3261, unique by itself. The
// cookie with nothing behind it is not (RFC 4475 §3.2.1).
func hasCookie(branch string) bool {
	return len(branch) > len(cookie) && branch[:len(cookie)] == cookie
}

// serverKey is what identifies a server transaction (RFC 3261 §17.2.3), made
// in t.buf: it is good until the next call. The method is that of the
// transaction, so INVITE for an ACK.
//
// For a branch without the magic cookie it is the rule of RFC 2543:
// Request-URI, To tag, From tag, Call-ID, CSeq and top Via.
func (t *Table) serverKey(req *sipgo.Request, method sipgo.RequestMethod, toTag string) []byte {
	via := req.Via()
	b := append(t.buf[:0], method...)
	branch, _ := sipwire.Param(via.Params, "branch")
	if hasCookie(branch) {
		b = append(b, ' ')
		b = append(b, branch...)
		b = append(b, ' ')
		b = appendLower(b, via.Host)
		b = append(b, ':')
		b = strconv.AppendInt(b, int64(via.Port), 10)
	} else {
		b = append(b, '\n')
		b = sipwire.AppendURI(b, &req.Recipient)
		b = append(b, '\n')
		b = append(b, toTag...)
		b = append(b, '\n')
		b = append(b, sipwire.FromTag(req)...)
		b = append(b, '\n')
		if id := req.CallID(); id != nil {
			b = append(b, *id...)
		}
		b = append(b, '\n')
		b = strconv.AppendUint(b, uint64(req.CSeq().SeqNo), 10)
		b = append(b, '\n')
		b = append(b, via.Value()...)
	}
	t.buf = b
	return b
}

// findAcked is the INVITE server transaction an ACK belongs to.
func (t *Table) findAcked(ack *sipgo.Request) *Server {
	tag := sipwire.ToTag(ack)
	s := t.servers[string(t.serverKey(ack, sipgo.INVITE, tag))]
	if hasCookie(sipwire.TopBranch(ack)) {
		return s
	}
	// RFC 3261 §17.2.3 without the cookie: the To tag of the ACK is that of
	// the response. The INVITE had it too, or none.
	if s == nil {
		s = t.servers[string(t.serverKey(ack, sipgo.INVITE, ""))]
	}
	if s != nil && s.respondedTag() == tag {
		return s
	}
	return nil
}

// appendLower puts s behind b in lower case.
func appendLower(b []byte, s string) []byte {
	for i := 0; i < len(s); i++ {
		c := s[i]
		if 'A' <= c && c <= 'Z' {
			c += 'a' - 'A'
		}
		b = append(b, c)
	}
	return b
}

func hexTag(v uint64) string {
	s := strconv.FormatUint(v, 16)
	return strings.Repeat("0", 16-len(s)) + s
}

func seconds(d time.Duration) string {
	return strconv.FormatInt(int64((d+time.Second-1)/time.Second), 10)
}
