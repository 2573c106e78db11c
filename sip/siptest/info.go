package siptest

import (
	"time"

	sipgo "github.com/emiago/sipgo/sip"

	"github.com/hoorn-phone/hoorn/internal/call"
	"github.com/hoorn-phone/hoorn/internal/sipwire"
	"github.com/hoorn-phone/hoorn/internal/transaction"
)

// informed passes an INFO (RFC 6086) or a MESSAGE on to the other end of the
// call, as the digits or words in it are for whoever is there, and its answer
// back. The numbers of the lab's own take neither.
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
		Method: req.Method, ContentType: sipwire.Header(req, "Content-Type"), Body: req.Body(),
		Apart: true, // what becomes of the other end shows in its own dialog
		Done: func(now time.Time, r *sipgo.Response, err error) {
			if err != nil {
				l.respond(now, s, passedOn(statusOf(err), sipgo.StatusTemporarilyUnavailable))
				return
			}
			l.passBack(now, s, r)
		},
	}
	if v := sipwire.Header(req, "Info-Package"); v != "" {
		w.Headers = append(w.Headers, sipgo.NewHeader("Info-Package", v))
	}
	for _, name := range copied {
		w.Headers = append(w.Headers, req.GetHeaders(name)...)
	}
	if err := o.m.Within(now, w); err != nil {
		l.respond(now, s, passedOn(statusOf(err), sipgo.StatusTemporarilyUnavailable))
	}
}
