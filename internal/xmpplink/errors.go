package xmpplink

import (
	"errors"
	"fmt"
	"slices"

	"github.com/hoorn-phone/hoorn/internal/xmppstream"
	"github.com/hoorn-phone/hoorn/xmpp/xmltree"
)

// Stage is a step on the way to a stream.
type Stage string

// The stages, in order.
const (
	StageLocate  Stage = "locate"  // DNS, host-meta
	StageConnect Stage = "connect" // TCP, proxies, WebSocket
	StageTLS     Stage = "tls"
	StageOpen    Stage = "open" // header and features
	StageAuth    Stage = "auth" // SASL
	StageBind    Stage = "bind" // resource, stream management
	StageStream  Stage = "stream"
)

// Error is a failure with the step in which it came.
type Error struct {
	Stage Stage
	Err   error
}

func (e *Error) Error() string { return fmt.Sprintf("xmpp: %s: %v", e.Stage, e.Err) }
func (e *Error) Unwrap() error { return e.Err }

// at gives an error its stage, unless it has one.
func at(stage Stage, err error) error {
	var e *Error
	if err == nil || errors.As(err, &e) {
		return err
	}
	return &Error{stage, err}
}

// StreamError is the end of a stream with an error, as the server says it (RFC 6120 §4.9).
type StreamError struct {
	Condition string // such as "conflict", §4.9.3
	Text      string
	Host      string           // of see-other-host, §4.9.3.19; as it came
	App       *xmltree.Element // an application's own condition, §4.9.4; mostly nil
}

func (e *StreamError) Error() string {
	s := "the server ended the stream: " + e.Condition
	if e.Text != "" {
		s += fmt.Sprintf(" (%.200q)", e.Text)
	}
	return s
}

// Is makes errors.Is work with a StreamError that has only a condition.
func (e *StreamError) Is(target error) bool {
	t, ok := target.(*StreamError)
	return ok && t.Condition == e.Condition && t.Text == "" && t.Host == "" && t.App == nil
}

// permanent are the conditions after which the same try will fail again.
var permanent = []string{"conflict", "host-gone", "host-unknown", "not-authorized", "invalid-namespace", "unsupported-version", "improper-addressing"}

// Permanent tells whether it is no use to connect again as things are.
func (e *StreamError) Permanent() bool { return slices.Contains(permanent, e.Condition) }

func streamError(e *xmltree.Element) *StreamError {
	s := &StreamError{Condition: "undefined-condition", Text: e.Child(xmppstream.NSError, "text").Text()}
	for c := range e.Elements() {
		switch {
		case c.Name.Space != xmppstream.NSError:
			s.App = c
		case c.Name.Local != "text":
			s.Condition = c.Name.Local
			if c.Name.Local == "see-other-host" {
				s.Host = c.Text()
			}
		}
	}
	return s
}

// AuthError is the server's refusal of who we say we are (RFC 6120 §6.5), or our refusal of the server.
type AuthError struct {
	Mechanism string
	Condition string // such as "not-authorized", §6.5; "" where we refuse
	Text      string
	Err       error // why we refuse; nil if the server does
}

func (e *AuthError) Error() string {
	if e.Err != nil {
		return fmt.Sprintf("%s: %v", e.Mechanism, e.Err)
	}
	s := fmt.Sprintf("%s: the server refuses: %s", e.Mechanism, e.Condition)
	if e.Text != "" {
		s += fmt.Sprintf(" (%.200q)", e.Text)
	}
	return s
}

func (e *AuthError) Unwrap() error { return e.Err }

// Permanent tells whether other credentials are needed. A server that is out of
// order for a moment says temporary-auth-failure (§6.5.11).
func (e *AuthError) Permanent() bool { return e.Condition != "temporary-auth-failure" }

// ErrClosed says that the stream was closed by this side.
var ErrClosed = errors.New("xmpp: stream closed")

// ErrPeerClosed says that the server closed the stream without an error.
var ErrPeerClosed = errors.New("xmpp: the server closed the stream")

// ErrSilent says that the server did not answer to a sign of life: the way to it is broken.
var ErrSilent = &timeoutError{"xmpp: the server does not answer any more"}

type timeoutError struct{ text string }

func (e *timeoutError) Error() string   { return e.text }
func (e *timeoutError) Timeout() bool   { return true }
func (e *timeoutError) Temporary() bool { return true }
