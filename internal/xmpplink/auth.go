package xmpplink

import (
	"crypto/tls"
	"encoding/base64"
	"errors"
	"fmt"

	"github.com/hoorn-phone/hoorn/xmpp/xmltree"
)

const (
	nsSASL    = "urn:ietf:params:xml:ns:xmpp-sasl"
	nsBinding = "urn:xmpp:sasl-cb:0" // XEP-0440
)

// Offer is what a server offers for signing in.
type Offer struct {
	Mechanisms []string
	Bindings   []string             // of channels, XEP-0440; nil if it does not say
	TLS        *tls.ConnectionState // what protects the stream
}

// Auth chooses mechanisms. internal/sasl has them; this is what a stream needs of it.
type Auth interface {
	// Choose returns the mechanisms to try, in order. Each is used once.
	Choose(Offer) ([]Mechanism, error)
}

// Mechanism is one run of a SASL mechanism, the client's side (RFC 4422).
type Mechanism interface {
	Name() string
	// Start returns the initial response; nil if it has none, which is not the same as an empty one.
	Start() ([]byte, error)
	Next(challenge []byte) ([]byte, error)
	// Done checks what the server says with its success. An error means that
	// it has not proven who it is.
	Done(data []byte) error
}

// maxRounds bounds the challenges of one mechanism.
const maxRounds = 8

// authenticate tries mechanisms until one succeeds (RFC 6120 §6). A refusal of
// the credentials themselves ends it: the next mechanism would show them again.
func (n *negotiation) authenticate() error {
	offer := Offer{TLS: n.t.tls()}
	for m := range n.features.Child(nsSASL, "mechanisms").Named(nsSASL, "mechanism") {
		offer.Mechanisms = append(offer.Mechanisms, m.Text())
	}
	for b := range n.features.Child(nsBinding, "sasl-channel-binding").Named(nsBinding, "channel-binding") {
		offer.Bindings = append(offer.Bindings, b.Get("type"))
	}
	choices, err := n.cfg.Auth.Choose(offer)
	if err != nil {
		return err
	}
	var failed error
	for _, m := range choices {
		err := n.try(m)
		if err == nil {
			return nil
		}
		failed = errors.Join(failed, err)
		var refused *AuthError
		if !errors.As(err, &refused) || refused.Err != nil || !refused.another() {
			return failed
		}
	}
	return failed
}

// another tells whether another mechanism may do. Servers say not-authorized,
// malformed-request or the like for a channel binding that does not match, so
// only what certainly concerns the account is final.
func (e *AuthError) another() bool {
	switch e.Condition {
	case "account-disabled", "credentials-expired", "temporary-auth-failure", "encryption-required":
		return false
	}
	return true
}

// try runs one mechanism (RFC 6120 §6.4).
func (n *negotiation) try(m Mechanism) error {
	initial, err := m.Start()
	if err != nil {
		return &AuthError{Mechanism: m.Name(), Err: err}
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
			return &AuthError{Mechanism: m.Name(), Condition: condition(e, nsSASL), Text: e.Child(nsSASL, "text").Text()}
		case err != nil:
			return n.abort(m, err)
		case e.Name.Local == "success":
			if err := m.Done(data); err != nil {
				return &AuthError{Mechanism: m.Name(), Err: err}
			}
			return nil
		case e.Name.Local != "challenge":
			return unexpected(e)
		}
		response, err := m.Next(data)
		if err != nil {
			return n.abort(m, err)
		}
		if err := n.send(xmltree.New(nsSASL, "response").AddText(encodeResponse(response))); err != nil {
			return err
		}
	}
	return n.abort(m, fmt.Errorf("more than %d challenges", maxRounds))
}

// abort tells the server that we give up (RFC 6120 §6.4.4). Why is ours to know.
func (n *negotiation) abort(m Mechanism, err error) error {
	n.send(xmltree.New(nsSASL, "abort"))
	return &AuthError{Mechanism: m.Name(), Err: err}
}

// encode writes an initial response: "=" is an empty one (RFC 6120 §6.4.2).
func encode(b []byte) string {
	if len(b) == 0 {
		return "="
	}
	return base64.StdEncoding.EncodeToString(b)
}

func encodeResponse(b []byte) string { return base64.StdEncoding.EncodeToString(b) }

func decode(s string) ([]byte, error) {
	if s == "=" || s == "" {
		return nil, nil
	}
	return base64.StdEncoding.DecodeString(s)
}
