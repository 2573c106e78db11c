package siptest

import (
	"time"

	sipgo "github.com/emiago/sipgo/sip"

	"github.com/hoorn-phone/hoorn/internal/call"
	"github.com/hoorn-phone/hoorn/internal/sipwire"
	"github.com/hoorn-phone/hoorn/internal/transaction"
)

// informed passes an INFO on to the other end of the call (RFC 6086), as the
// digits in it are for whoever is there, and its answer back. The numbers of
// the lab's own take no INFO.
func (l *life) informed(now time.Time, s *transaction.Server, g *leg) {
	if !g.m.Sequence(now, s) {
		return
	}
	e, ok := g.owner.(*end)
	if !ok || e.b == nil {
		l.respond(now, s, sipgo.StatusUnsupportedMediaType)
		return
	}
	o := e.b.partner(e)
	if !o.alive() {
		l.respond(now, s, sipgo.StatusTemporarilyUnavailable)
		return
	}
	req := s.Request()
	w := call.Within{
		Method: sipgo.INFO, ContentType: sipwire.Header(req, "Content-Type"), Body: req.Body(),
		Apart: true, // what becomes of the other end shows in its own dialog
		Done: func(now time.Time, r *sipgo.Response, err error) {
			if err != nil {
				l.respond(now, s, statusOf(err))
				return
			}
			l.respond(now, s, r.StatusCode)
		},
	}
	if v := sipwire.Header(req, "Info-Package"); v != "" {
		w.Headers = append(w.Headers, sipgo.NewHeader("Info-Package", v))
	}
	if err := o.m.Within(now, w); err != nil {
		l.respond(now, s, statusOf(err))
	}
}
