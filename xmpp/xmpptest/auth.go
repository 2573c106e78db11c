package xmpptest

import (
	"crypto/rand"
	"encoding/base64"
	"errors"
	"slices"
	"strings"
	"sync"

	"github.com/hoorn-phone/hoorn/internal/sasl"
	"github.com/hoorn-phone/hoorn/xmpp/xmltree"
)

const (
	nsSASL    = "urn:ietf:params:xml:ns:xmpp-sasl"
	nsBinding = "urn:xmpp:sasl-cb:0" // XEP-0440
)

const iterations = 4096 // RFC 7677 §4: at least

// keys are what is stored of a password, made when it is first asked for.
type keys struct {
	password string
	mu       sync.Mutex
	stored   map[sasl.Hash]sasl.Stored
}

func (k *keys) set(password string) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.password, k.stored = password, nil
}

func (k *keys) get(h sasl.Hash) (sasl.Stored, error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if s, ok := k.stored[h]; ok {
		return s, nil
	}
	salt := make([]byte, 16)
	_, _ = rand.Read(salt) // never fails
	s, err := sasl.NewStored(h, k.password, salt, iterations)
	if err != nil {
		return s, err
	}
	if k.stored == nil {
		k.stored = make(map[sasl.Hash]sasl.Stored)
	}
	k.stored[h] = s
	return s, nil
}

// saslOffer is what there is for this connection.
func (c *conn) saslOffer() *sasl.Offer {
	state := c.tls.ConnectionState()
	o := &sasl.Offer{TLS: &state, Bindings: []string{}}
	binding := c.binding()
	for _, b := range []sasl.Binding{sasl.TLSExporter, sasl.TLSUnique, sasl.TLSServerEndPoint} {
		if _, err := binding(b); err == nil {
			o.Bindings = append(o.Bindings, string(b))
		}
	}
	o.Mechanisms = slices.DeleteFunc(slices.Clone(c.s.cfg.Mechanisms), func(m string) bool {
		return len(o.Bindings) == 0 && strings.HasSuffix(m, "-PLUS")
	})
	return o
}

func (c *conn) binding() func(sasl.Binding) ([]byte, error) {
	state := c.tls.ConnectionState()
	return sasl.ServerBinding(&state, c.s.leaf)
}

// offer are the features before a login.
func (c *conn) offer() []*xmltree.Element {
	o := c.saslOffer()
	m := xmltree.New(nsSASL, "mechanisms")
	for _, name := range o.Mechanisms {
		m.Add(xmltree.NewText(nsSASL, "mechanism", name))
	}
	cb := xmltree.New(nsBinding, "sasl-channel-binding")
	for _, b := range o.Bindings {
		cb.Add(xmltree.New(nsBinding, "channel-binding").Set("type", b))
	}
	return []*xmltree.Element{m, cb}
}

// authenticate handles one attempt to sign in (RFC 6120 §6.4). c.user is who did; errors end the stream.
func (c *conn) authenticate(auth *xmltree.Element) error {
	server, err := sasl.NewServer(auth.Get("mechanism"), &sasl.ServerConfig{
		Offer: c.saslOffer(), Binding: c.binding(), Protect: true,
		Lookup: func(name string, h sasl.Hash) (sasl.Stored, error) {
			a := c.s.findUser(name)
			if a == nil {
				return sasl.Stored{}, errors.New("no such user")
			}
			return a.keys.get(h)
		},
		Authorize: func(name, authzid string) error {
			if authzid != name+"@"+c.s.cfg.Domain {
				return errors.New("not himself")
			}
			return nil
		},
	})
	if err != nil {
		return c.refuse(err)
	}
	for e := auth; ; {
		response, err := unwrap(e.Text())
		if err != nil {
			return c.refuse(&sasl.Failure{Condition: sasl.IncorrectEncoding})
		}
		challenge, done, err := server.Next(response)
		if err != nil {
			return c.refuse(err)
		}
		if done {
			if c.user = c.s.findUser(server.Username()); c.user == nil {
				return c.refuse(&sasl.Failure{Condition: sasl.NotAuthorized})
			}
			return c.send(xmltree.New(nsSASL, "success").AddText(base64.StdEncoding.EncodeToString(challenge)))
		}
		if err := c.send(xmltree.New(nsSASL, "challenge").AddText(base64.StdEncoding.EncodeToString(challenge))); err != nil {
			return err
		}
		if e, err = c.next(); err != nil {
			return err
		}
		switch {
		case e.Is(nsSASL, "abort"):
			return c.refuse(&sasl.Failure{Condition: sasl.Aborted})
		case !e.Is(nsSASL, "response"):
			return &streamError{condition: "not-authorized"}
		}
		if e.Text() == "" {
			e = e.Clone().AddText("=") // of a response, unlike <auth/>, nothing is empty (RFC 6120 §6.4.3)
		}
	}
}

// refuse answers a failed attempt. Too many end the stream (RFC 6120 §6.4.5).
func (c *conn) refuse(err error) error {
	f := &sasl.Failure{Condition: sasl.NotAuthorized}
	errors.As(err, &f)
	if err := c.send(xmltree.New(nsSASL, "failure", xmltree.New(nsSASL, f.Condition))); err != nil {
		return err
	}
	if c.attempts++; c.attempts >= maxAttempts {
		return &streamError{condition: "policy-violation"}
	}
	return nil
}

// unwrap decodes what SASL sends: nil is nothing, "=" is empty (RFC 6120 §6.4.2).
func unwrap(s string) ([]byte, error) {
	switch s {
	case "":
		return nil, nil
	case "=":
		return []byte{}, nil
	}
	return base64.StdEncoding.DecodeString(s)
}
