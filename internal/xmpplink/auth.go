package xmpplink

import (
	"encoding/base64"
	"errors"
	"fmt"

	"github.com/hoorn-phone/hoorn/internal/sasl"
	"github.com/hoorn-phone/hoorn/xmpp/xmltree"
)

const (
	nsSASL    = "urn:ietf:params:xml:ns:xmpp-sasl"
	nsBinding = "urn:xmpp:sasl-cb:0" // XEP-0440
)

// maxRounds bounds the challenges of one mechanism.
const maxRounds = 8

// authenticate tries mechanisms until one succeeds (RFC 6120 §6).
func (n *negotiation) authenticate() error {
	offer := &sasl.Offer{TLS: n.t.tls()}
	for m := range n.features.Child(nsSASL, "mechanisms").Named(nsSASL, "mechanism") {
		offer.Mechanisms = append(offer.Mechanisms, m.Text())
	}
	if cb := n.features.Child(nsBinding, "sasl-channel-binding"); cb != nil {
		offer.Bindings = []string{}
		for b := range cb.Named(nsBinding, "channel-binding") {
			offer.Bindings = append(offer.Bindings, b.Get("type"))
		}
	}
	choices, err := sasl.Select(offer, &n.cfg.Policy)
	if err != nil {
		return &AuthError{Err: err}
	}
	var refused error
	for _, c := range choices {
		m, err := c.Client(&n.cfg.Credentials, n.cfg.Keys)
		if err == nil {
			err = n.try(m)
		}
		if err == nil {
			return nil
		}
		refused = err // the last one is of the mechanism that says most about the credentials
		if !c.Failed(err) {
			return n.refused(c.Mechanism, err)
		}
	}
	return n.refused(choices[len(choices)-1].Mechanism, refused)
}

// refused makes an AuthError of what concerns the login; errors of the stream stay what they are.
func (n *negotiation) refused(mechanism string, err error) error {
	var failure *sasl.Failure
	var ours *abortError
	switch {
	case errors.As(err, &failure):
		return &AuthError{Mechanism: mechanism, Condition: failure.Condition, Text: failure.Text}
	case errors.As(err, &ours):
		return &AuthError{Mechanism: mechanism, Err: ours.err}
	}
	return err
}

// abortError is our own wish to end an attempt.
type abortError struct{ err error }

func (e *abortError) Error() string { return e.err.Error() }
func (e *abortError) Unwrap() error { return e.err }

// try runs one mechanism (RFC 6120 §6.4).
func (n *negotiation) try(m sasl.Mechanism) error {
	initial, err := m.Start()
	if err != nil {
		return &abortError{err}
	}
	auth := xmltree.New(nsSASL, "auth").Set("mechanism", m.Name())
	if initial != nil {
		auth.AddText(encode(initial))
	}
	if err := n.send(auth); err != nil {
		return err
	}
	for range maxRounds {
		e, err := n.next()
		if err != nil {
			return err
		}
		data, err := decode(e.Text())
		switch {
		case e.Name.Space != nsSASL:
			return unexpected(e)
		case e.Name.Local == "failure":
			return &sasl.Failure{Condition: condition(e, nsSASL), Text: e.Child(nsSASL, "text").Text()}
		case err != nil:
			return n.abort(err)
		case e.Name.Local == "success":
			if err := m.Done(data); err != nil {
				return &abortError{err}
			}
			return nil
		case e.Name.Local != "challenge":
			return unexpected(e)
		}
		response, err := m.Next(data)
		if err != nil {
			return n.abort(err)
		}
		if err := n.send(xmltree.New(nsSASL, "response").AddText(base64.StdEncoding.EncodeToString(response))); err != nil {
			return err
		}
	}
	return n.abort(fmt.Errorf("more than %d challenges", maxRounds))
}

// abort tells the server that we give up (RFC 6120 §6.4.4), and hears it say that it knows. Why is ours alone.
func (n *negotiation) abort(err error) error {
	if n.send(xmltree.New(nsSASL, "abort")) == nil {
		n.next()
	}
	return &abortError{err}
}

// encode writes an initial response: "=" is an empty one (RFC 6120 §6.4.2).
func encode(b []byte) string {
	if len(b) == 0 {
		return "="
	}
	return base64.StdEncoding.EncodeToString(b)
}

func decode(s string) ([]byte, error) {
	if s == "=" || s == "" {
		return nil, nil
	}
	return base64.StdEncoding.DecodeString(s)
}
