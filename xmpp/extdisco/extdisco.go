// Package extdisco asks a server which services it recommends, such as TURN for calls, with credentials for them (XEP-0215).
package extdisco

import (
	"context"
	"errors"
	"strconv"
	"time"

	"mellium.im/xmpp/jid"

	"github.com/hoorn-phone/hoorn/xmpp"
	"github.com/hoorn-phone/hoorn/xmpp/delay"
	"github.com/hoorn-phone/hoorn/xmpp/xmltree"
)

// NS is the namespace of external services.
const NS = "urn:xmpp:extdisco:2"

// maxServices bounds what is taken.
const maxServices = 100

// ErrAnswer says that what came is no list of services.
var ErrAnswer = errors.New("extdisco: not a list of services")

// Service is a service outside XMPP (§3.3). Username and Password are secrets: do not log them.
type Service struct {
	Type       string // "stun", "turn", "turns" and others
	Host       string
	Port       uint16 // zero is the usual one
	Transport  string // "udp" or "tcp"; "" is open
	Name       string // for people
	Username   string
	Password   string
	Restricted bool      // it wants credentials: ask for them with Credentials if there are none
	Expires    time.Time // of the credentials; zero is never
}

// Services asks a server for services of a type; "" is all (§3.1, §3.2). The zero JID is our own server.
func Services(ctx context.Context, c *xmpp.Client, server jid.JID, typ string) ([]Service, error) {
	answer, err := c.Get(ctx, orOwn(c, server), xmltree.New(NS, "services").Set("type", typ))
	if err != nil {
		return nil, err
	}
	if !answer.Is(NS, "services") {
		return nil, ErrAnswer
	}
	return parseAll(answer), nil
}

// Credentials asks for those of one service, of which type and host, and port if it has one, are known (§3.3).
func Credentials(ctx context.Context, c *xmpp.Client, server jid.JID, s Service) (Service, error) {
	e := xmltree.New(NS, "service").Set("type", s.Type).Set("host", s.Host)
	if s.Port != 0 {
		e.Set("port", strconv.Itoa(int(s.Port)))
	}
	answer, err := c.Get(ctx, orOwn(c, server), xmltree.New(NS, "credentials", e))
	if err != nil {
		return Service{}, err
	}
	for _, got := range parseAll(answer) {
		if answer.Is(NS, "credentials") && got.Host == s.Host && got.Type == s.Type {
			return got, nil
		}
	}
	return Service{}, ErrAnswer
}

func orOwn(c *xmpp.Client, server jid.JID) jid.JID {
	if server.Domainpart() == "" {
		return c.Account().Domain()
	}
	return server
}

func parseAll(e *xmltree.Element) []Service {
	var all []Service
	for c := range e.Named(NS, "service") {
		if s, ok := Parse(c); ok && len(all) < maxServices {
			all = append(all, s)
		}
	}
	return all
}

// Parse reads a service. ok is false if it lacks what every service has.
func Parse(e *xmltree.Element) (s Service, ok bool) {
	s = Service{Type: e.Get("type"), Host: e.Get("host"), Transport: e.Get("transport"), Name: e.Get("name"), Username: e.Get("username"), Password: e.Get("password")}
	if !e.Is(NS, "service") || s.Type == "" || s.Host == "" {
		return Service{}, false
	}
	if port := e.Get("port"); port != "" {
		n, err := strconv.ParseUint(port, 10, 16)
		if err != nil {
			return Service{}, false
		}
		s.Port = uint16(n)
	}
	if at := e.Get("expires"); at != "" {
		var err error
		if s.Expires, err = delay.ParseTime(at); err != nil {
			return Service{}, false
		}
	}
	r := e.Get("restricted")
	s.Restricted = r == "true" || r == "1"
	return s, true
}
