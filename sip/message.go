package sip

import (
	"context"
	"fmt"
	"iter"
	"slices"
	"strings"
	"time"

	sipgo "github.com/emiago/sipgo/sip"

	"github.com/hoorn-phone/hoorn/internal/call"
	"github.com/hoorn-phone/hoorn/internal/endpoint"
	"github.com/hoorn-phone/hoorn/internal/sipwire"
	"github.com/hoorn-phone/hoorn/internal/transaction"
)

// Message is an instant message that came (RFC 3428).
type Message struct {
	Time time.Time
	// Remote is who sent it, as Call.Remote is who calls; Identity has more.
	Remote   Party
	Identity Identity
	// Call is the call that the message came in; nil outside of calls.
	Call *Call
	// ContentType is that of Body, with its parameters, such as "text/plain;charset=utf-8".
	ContentType string
	Body        []byte
}

// MessageResult is what became of a message that was sent.
type MessageResult struct {
	// Deferred says that a server has taken the message to pass it on later
	// (202); it may still be lost (RFC 3428 §7).
	Deferred bool
	Status   int // 200 to 299
}

const (
	maxMessage          = 64 << 10 // bytes of body, in and out
	defaultMessageQueue = 64
)

// SendMessage sends an instant message (RFC 3428) and waits for the outcome:
// without an error it was delivered, or stored where the result says so. uri
// is like that of [UA.Dial]. Messages are not numbered nor resent: order
// is kept by sending one after the other.
//
// Errors are those of Dial: a *StatusError says why it was refused, 415 that
// the other side does not take the content type. A body may have 64 KiB; one
// that does not fit in a datagram takes TCP, where there is any
// (RFC 3261 §18.1.1).
func (ua *UA) SendMessage(ctx context.Context, uri, contentType string, body []byte) (MessageResult, error) {
	to, err := ua.target(uri)
	if err != nil {
		return MessageResult{}, err
	}
	if err := checkMessage(contentType, body); err != nil {
		return MessageResult{}, err
	}
	r, err := ua.ask(ctx, func() *sipgo.Request {
		req := ua.request(sipgo.MESSAGE, to)
		ct := sipgo.ContentTypeHeader(contentType)
		req.AppendHeader(&ct)
		req.SetBody(body)
		return req
	})
	return messageResult(r, err)
}

// SendMessage sends an instant message within the call, to whom it is with. It is
// otherwise like [UA.SendMessage]; ErrState before there is a dialog.
func (c *Call) SendMessage(ctx context.Context, contentType string, body []byte) (MessageResult, error) {
	if err := checkMessage(contentType, body); err != nil {
		return MessageResult{}, err
	}
	return messageResult(c.request(ctx, call.Within{Method: sipgo.MESSAGE, ContentType: contentType, Body: body}))
}

func messageResult(r *sipgo.Response, err error) (MessageResult, error) {
	if err != nil {
		return MessageResult{}, err
	}
	return MessageResult{Deferred: r.StatusCode == sipgo.StatusAccepted, Status: r.StatusCode}, nil
}

func checkMessage(contentType string, body []byte) error {
	kind, sub, ok := strings.Cut(contentType, "/")
	sub, _, _ = strings.Cut(sub, ";")
	switch {
	case !ok || !sipwire.IsToken(kind) || !sipwire.IsToken(strings.TrimSpace(sub)) || strings.ContainsAny(contentType, "\r\n\x00"):
		return fmt.Errorf("sip: %q is no content type", contentType)
	case len(body) > maxMessage:
		return fmt.Errorf("sip: a message of %d bytes; it may have %d", len(body), maxMessage)
	}
	return nil
}

// Messages iterates over the instant messages that come, until the context
// ends or the UA is closed. What came before waits, up to Config.MessageQueue
// messages. A message goes to one reader, if there are several.
func (ua *UA) Messages(ctx context.Context) iter.Seq[*Message] {
	return func(yield func(*Message) bool) {
		for ctx.Err() == nil {
			select {
			case m := <-ua.messages:
				if !yield(m) {
					return
				}
				continue
			default:
			}
			select {
			case m := <-ua.messages:
				if !yield(m) {
					return
				}
			case <-ctx.Done():
			case <-ua.ep.Context().Done():
				return
			}
		}
	}
}

// messaged takes a MESSAGE, in a call's dialog where c is not nil. The answer
// means that the user gets it, and so is 200 only if there is room for it.
func (ua *UA) messaged(c *Call, now time.Time, s *transaction.Server) {
	req := s.Request()
	body, contentType := req.Body(), bodyType(req)
	encoding := sipwire.Header(req, "Content-Encoding")
	switch {
	case len(body) > maxMessage:
		ua.respond(now, s, sipgo.StatusRequestEntityTooLarge)
		return
	case len(body) > 0 && contentType == "":
		ua.respond(now, s, sipgo.StatusBadRequest)
		return
	case len(body) > 0 && !ua.takesMessage(contentType), encoding != "" && !strings.EqualFold(encoding, "identity"):
		ua.respond(now, s, sipgo.StatusUnsupportedMediaType, sipgo.NewHeader("Accept", strings.Join(ua.cfg.MessageTypes, ", ")),
			sipgo.NewHeader("Accept-Encoding", "identity"))
		return
	}
	m := &Message{Time: now, Call: c, Body: slices.Clone(body)}
	if ct := req.ContentType(); ct != nil {
		m.ContentType = strings.Clone(string(*ct))
	}
	m.Identity = identityOf(req, !ua.acct.direct && ua.own(s))
	m.Remote = m.Identity.callerOf()
	select {
	case ua.messages <- m:
		ua.respond(now, s, sipgo.StatusOK)
	default:
		ua.respond(now, s, sipgo.StatusTemporarilyUnavailable, sipgo.NewHeader("Retry-After", "10"))
	}
}

func (ua *UA) takesMessage(contentType string) bool {
	return slices.ContainsFunc(ua.cfg.MessageTypes, func(t string) bool {
		if kind, ok := strings.CutSuffix(t, "*"); ok {
			return t == "*/*" || len(contentType) > len(kind) && strings.EqualFold(contentType[:len(kind)], kind)
		}
		return strings.EqualFold(t, contentType)
	})
}

// ask sends a request outside of dialogs, made in the loop, and waits for its
// final response; one that is no 2xx is a *StatusError.
func (ua *UA) ask(ctx context.Context, build func() *sipgo.Request) (*sipgo.Response, error) {
	type outcome struct {
		r   *sipgo.Response
		err error
	}
	result := make(chan outcome, 1)
	method := ""
	err := ua.ep.Run(ctx, func(now time.Time) {
		req := build()
		method = string(req.Method)
		cseq := req.CSeq().SeqNo
		ua.ep.Send(now, &endpoint.Outgoing{
			Req:      req,
			NextCSeq: func() uint32 { cseq++; return cseq },
			OnResponse: func(_ time.Time, r *sipgo.Response) {
				switch {
				case r.StatusCode < 200:
				case r.IsSuccess():
					result <- outcome{r: r}
				default:
					result <- outcome{err: publicError(string(req.Method), call.Refused(string(req.Method), r))}
				}
			},
			OnFailed: func(_ time.Time, err error) { result <- outcome{err: publicError(string(req.Method), err)} },
		})
	})
	if err != nil {
		return nil, publicError(method, err)
	}
	select {
	case o := <-result:
		return o.r, o.err
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	case <-ua.ep.Context().Done():
		return nil, ErrClosed
	}
}
