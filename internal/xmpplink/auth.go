package xmpplink

import (
	"encoding/base64"
	"errors"
	"fmt"
	"strings"

	"github.com/hoorn-phone/hoorn/internal/sasl"
	"github.com/hoorn-phone/hoorn/xmpp/xmltree"
)

const (
	nsSASL    = "urn:ietf:params:xml:ns:xmpp-sasl"
	nsBinding = "urn:xmpp:sasl-cb:0" // XEP-0440
)

// maxRounds bounds the challenges of one mechanism.
const maxRounds = 8

// signIn tries the mechanisms on offer until one succeeds (RFC 6120 §6).
func (n *negotiation) signIn(mechanisms []string, try func(sasl.Mechanism) error) error {
	offer := &sasl.Offer{TLS: n.t.tls(), Mechanisms: mechanisms}
	if cb := n.features.Child(nsBinding, "sasl-channel-binding"); cb != nil {
		offer.Bindings = []string{}
		for b := range cb.Named(nsBinding, "channel-binding") {
			offer.Bindings = append(offer.Bindings, b.Get("type"))
		}
	}
	choices, err := sasl.Select(offer, n.policy())
	if err != nil {
		return &AuthError{Err: err}
	}
	var refused error
	for _, c := range choices {
		m, err := c.Client(&n.cfg.Credentials, n.cfg.Keys)
		if err == nil {
			err = try(m)
		} else {
			err = &abortError{err}
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

// authenticate signs in by SASL as RFC 6120 §6 has it.
func (n *negotiation) authenticate() error {
	return n.signIn(texts(n.features.Child(nsSASL, "mechanisms"), nsSASL, "mechanism"), n.try)
}

// texts are the texts of all children with a name.
func texts(e *xmltree.Element, space, local string) []string {
	var list []string
	for c := range e.Named(space, local) {
		list = append(list, c.Text())
	}
	return list
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
	_, err = n.converse(m, nsSASL)
	return err
}

// converse answers challenges until the server has decided. Both versions of SASL have the same elements, with the
// namespace of each; success is returned.
func (n *negotiation) converse(m sasl.Mechanism, space string) (*xmltree.Element, error) {
	for range maxRounds {
		e, err := n.next()
		if err != nil {
			return nil, err
		}
		if e.Name.Space != space {
			return nil, unexpected(e)
		}
		text := e.Text()
		if space == nsSASL2 && e.Name.Local != "challenge" {
			text = e.Child(nsSASL2, "additional-data").Text()
		}
		data, err := decode(text)
		switch {
		case e.Name.Local == "failure":
			return nil, &sasl.Failure{Condition: condition(e, nsSASL), Text: e.Child(space, "text").Text()}
		case e.Name.Local == "continue" && space == nsSASL2:
			return nil, n.abort(tasks(e), space)
		case err != nil:
			return nil, n.abort(err, space)
		case e.Name.Local == "success":
			if err := m.Done(data); err != nil {
				return nil, &abortError{err}
			}
			return e, nil
		case e.Name.Local != "challenge":
			return nil, unexpected(e)
		}
		response, err := m.Next(data)
		if err != nil {
			return nil, n.abort(err, space)
		}
		if err := n.send(xmltree.New(space, "response").AddText(base64.StdEncoding.EncodeToString(response))); err != nil {
			return nil, err
		}
	}
	return nil, n.abort(fmt.Errorf("more than %d challenges", maxRounds), space)
}

// abort tells the server that we give up (RFC 6120 §6.4.4), and hears it say that it knows. Why is ours alone.
func (n *negotiation) abort(err error, space string) error {
	if n.send(xmltree.New(space, "abort")) == nil {
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
	if s = strings.TrimSpace(s); s == "=" || s == "" {
		return nil, nil
	}
	return base64.StdEncoding.DecodeString(s)
}
