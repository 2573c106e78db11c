package linktest

import (
	"crypto/rand"
	"encoding/base64"
	"errors"
	"strings"
	"time"

	"github.com/hoorn-phone/hoorn/internal/sasl"
	"github.com/hoorn-phone/hoorn/internal/xmppstream"
	"github.com/hoorn-phone/hoorn/xmpp/xmltree"
)

const (
	nsTLS        = "urn:ietf:params:xml:ns:xmpp-tls"
	nsSASL       = "urn:ietf:params:xml:ns:xmpp-sasl"
	nsBind       = "urn:ietf:params:xml:ns:xmpp-bind"
	nsBinding    = "urn:xmpp:sasl-cb:0"
	nsManagement = "urn:xmpp:sm:3"
	nsSASL2      = "urn:xmpp:sasl:2"
	nsBind2      = "urn:xmpp:bind:0"
	nsFast       = "urn:xmpp:fast:0"
)

// sasl takes an element of either version of SASL.
func (c *conn) sasl(e *xmltree.Element) error {
	space := e.Name.Space
	if c.offer == nil || c.authed {
		return errors.New("a login out of turn")
	}
	var response []byte
	text := e.Text()
	switch e.Name.Local {
	case "auth", "authenticate":
		if e.Name.Local == "authenticate" {
			if !c.s.SASL2 {
				return errors.New("no SASL2")
			}
			text = e.Child(nsSASL2, "initial-response").Text()
			c.wish = e
		}
		var err error
		if c.login, err = sasl.NewServer(e.Get("mechanism"), c.config()); err != nil {
			return c.refuse(space, err)
		}
		if text == "" && e.Child(nsSASL2, "initial-response") == nil {
			response = nil
			break
		}
		response = []byte{}
		if text != "=" && text != "" {
			response, err = base64.StdEncoding.DecodeString(text)
			if err != nil {
				return c.refuse(space, &sasl.Failure{Condition: sasl.IncorrectEncoding})
			}
		}
	case "response":
		response, _ = base64.StdEncoding.DecodeString(text)
	case "abort":
		return c.refuse(space, &sasl.Failure{Condition: sasl.Aborted})
	}
	if c.login == nil {
		return errors.New("a response to nothing")
	}
	data, done, err := c.login.Next(response)
	switch {
	case err != nil:
		return c.refuse(space, err)
	case !done:
		return c.send(xmltree.New(space, "challenge").AddText(base64.StdEncoding.EncodeToString(data)))
	case space == nsSASL:
		c.signedIn(c.login.Name())
		c.restart()
		return c.send(xmltree.New(nsSASL, "success").AddText(base64.StdEncoding.EncodeToString(data)))
	}
	return c.success2(data)
}

func (c *conn) signedIn(mechanism string) {
	c.authed = true
	c.s.mu.Lock()
	c.s.logins = append(c.s.logins, mechanism)
	c.s.mu.Unlock()
}

func (c *conn) refuse(space string, err error) error {
	condition := sasl.NotAuthorized
	var f *sasl.Failure
	if errors.As(err, &f) {
		condition = f.Condition
	}
	c.login = nil
	return c.send(xmltree.New(space, "failure", xmltree.New(nsSASL, condition)))
}

// config is what the mechanisms have to know.
func (c *conn) config() *sasl.ServerConfig {
	s := c.s
	offer := *c.offer
	offer.Mechanisms = append(offer.Mechanisms[:len(offer.Mechanisms):len(offer.Mechanisms)], s.Tokens...)
	if !strings.HasPrefix(c.wish.Get("mechanism"), "HT-") {
		offer.Mechanisms = c.offer.Mechanisms
	}
	cfg := &sasl.ServerConfig{Offer: &offer, Protect: s.Protect}
	cfg.Binding = sasl.ServerBinding(offer.TLS, s.leaf())
	if s.Bind != nil {
		cfg.Binding = func(b sasl.Binding) ([]byte, error) { return s.Bind(b, offer.TLS) }
	}
	cfg.Lookup = func(username string, h sasl.Hash) (sasl.Stored, error) {
		if username != s.Username {
			return sasl.Stored{}, errors.New("nobody")
		}
		return sasl.NewStored(h, s.Password, []byte("salt"), 4096)
	}
	cfg.Token = func(username, mechanism string) (string, error) {
		s.mu.Lock()
		defer s.mu.Unlock()
		if username != s.Username || c.wish.Child(nsFast, "fast") == nil {
			return "", errors.New("nobody")
		}
		return s.tokens[mechanism], nil
	}
	if certs := offer.TLS.PeerCertificates; len(certs) > 0 && len(certs[0].DNSNames)+len(certs[0].EmailAddresses) > 0 {
		cfg.External = s.Username + "@" + s.Domain
	}
	return cfg
}

// success2 ends a login by SASL2, with all that was wished for.
func (c *conn) success2(data []byte) error {
	name := c.login.Name()
	c.signedIn(name)
	c.s.mu.Lock()
	defer c.s.mu.Unlock()
	ok := xmltree.New(nsSASL2, "success")
	if len(data) > 0 {
		ok.Add(xmltree.NewText(nsSASL2, "additional-data", base64.StdEncoding.EncodeToString(data)))
	}
	address := c.s.Username + "@" + c.s.Domain
	var rest []byte
	resumed := false
	var more []*xmltree.Element
	if r := c.wish.Child(nsManagement, "resume"); r != nil {
		var answer *xmltree.Element
		answer, rest = c.resume(r)
		resumed = answer.Name.Local == "resumed"
		more = append(more, answer)
	}
	if b := c.wish.Child(nsBind2, "bind"); b != nil && !resumed {
		x := c.bind(b.Child(nsBind2, "tag").Text())
		address = x.jid
		bound := xmltree.New(nsBind2, "bound")
		if b.Child(nsManagement, "enable") != nil && c.s.Management {
			bound.Add(c.enable(x))
		}
		more = append(more, bound)
	}
	token := c.wish.Child(nsFast, "request-token").Get("mechanism")
	if token == "" && c.s.Rotate && c.wish.Child(nsFast, "fast") != nil {
		token = name
	}
	if token != "" && c.s.Tokens != nil {
		ttl := c.s.TokenTTL
		if ttl == 0 {
			ttl = 24 * time.Hour
		}
		c.s.tokens[token] = "secret-token:" + rand.Text()
		more = append(more, xmltree.New(nsFast, "token").Set("token", c.s.tokens[token]).Set("expiry", time.Now().Add(ttl).UTC().Format(time.RFC3339)))
	}
	ok.Add(xmltree.NewText(nsSASL2, "authorization-identifier", address)).Add(more...)
	b := c.features().AppendXML(ok.AppendXML(nil, xmppstream.NSClient), xmppstream.NSClient)
	_, err := c.net.Write(append(b, rest...))
	return err
}
