package xmpptest

import (
	"cmp"
	"context"
	"crypto/tls"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"time"
)

// Config is what a [Server] is made of. The zero value is a server of
// example.test on 127.0.0.1 without users.
type Config struct {
	// Domain is that of the users; "" is "example.test".
	Domain string
	// Users are there from the start, with their passwords; more come with Server.AddUser.
	Users map[string]string

	// Addr is the IP address to listen on; "" is 127.0.0.1.
	Addr string
	// Ports, of connections that begin in clear text and of those that begin with TLS; 0 is any that is free.
	StartTLS, DirectTLS uint16
	// Listen makes listeners; nil is the system's. A host of an in-memory network has such a method.
	Listen func(ctx context.Context, network, addr string) (net.Listener, error)
	// TLSConfig changes the TLS configuration before it is used: another
	// certificate, other versions.
	TLSConfig func(*tls.Config)
	// Mechanisms are those of SASL that are offered. Nil is SCRAM with SHA-512, SHA-256 and SHA-1, each with channel binding too, and PLAIN.
	Mechanisms []string

	// Rooms is the domain of the rooms; "" is "conference." before Domain.
	Rooms string
	// PubSub is the domain of nodes that belong to no account; "" is "pubsub." before Domain.
	PubSub string

	// Hibernate is how long the session of a lost connection can be resumed
	// (XEP-0198). Zero means 5 minutes; negative: sessions cannot be resumed.
	Hibernate time.Duration
	// NoManagement leaves out stream management.
	NoManagement bool
	// NoOffline keeps no messages for those who are offline, other than in the archive.
	NoOffline bool

	// Services are external services that clients are told of (XEP-0215).
	Services []Service

	Limits Limits

	// Logger hears what happens; nil is silent. Passwords and bodies are not logged.
	Logger *slog.Logger
}

// Service is an external service, such as a TURN server (XEP-0215).
type Service struct {
	Type, Host         string // such as "turn" and "turn.example.test"
	Port               uint16
	Transport          string // "udp" or "tcp"; "" says nothing
	Username, Password string // "" are none
	Expires            time.Time
}

// Limits bound what clients can make the server keep. Zero fields have the
// values given. What would go beyond is refused with resource-constraint or
// policy-violation unless it says otherwise.
type Limits struct {
	Stanza      int // bytes of a stanza; 256 KB
	Connections int // 10,000. More are closed at once
	Sessions    int // of an account; 100
	Roster      int // contacts of an account; 1000
	// Queue is how many stanzas may wait for the client to confirm them, and Unsent how many bytes for it to read them: 4096, and 8 MB.
	// One stanza more, and the session ends.
	Queue, Unsent int
	Offline       int // messages of an account; 100. The next is answered with service-unavailable (RFC 6121 §8.5.2.2.1)
	Archive       int // messages of an archive; 20,000. The oldest goes
	Page          int // messages of one answer of an archive; 250
	Rooms         int // 1000
	Occupants     int // of a room; 1000
	Nodes         int // of one owner; 200
	Items         int // of a node; 1000. The oldest goes
	Blocked       int // addresses of an account; 1000
}

func (l *Limits) complete() {
	for _, f := range []struct {
		p   *int
		def int
	}{
		{&l.Stanza, 256 << 10}, {&l.Connections, 10000}, {&l.Sessions, 100}, {&l.Roster, 1000}, {&l.Queue, 4096}, {&l.Unsent, 8 << 20}, {&l.Offline, 100},
		{&l.Archive, 20000}, {&l.Page, 250}, {&l.Rooms, 1000}, {&l.Occupants, 1000}, {&l.Nodes, 200}, {&l.Items, 1000}, {&l.Blocked, 1000},
	} {
		if *f.p <= 0 {
			*f.p = f.def
		}
	}
}

// complete fills in what is not given.
func (c *Config) complete() error {
	c.Domain = cmp.Or(c.Domain, "example.test")
	d, ok := parseAddr(c.Domain)
	if !ok || !d.isDomain() {
		return fmt.Errorf("xmpptest: Config.Domain %q is not a domain", c.Domain)
	}
	c.Domain = d.domain
	for _, sub := range []struct {
		p    *string
		name string
	}{{&c.Rooms, "conference"}, {&c.PubSub, "pubsub"}} {
		*sub.p = cmp.Or(*sub.p, sub.name+"."+c.Domain)
		d, ok := parseAddr(*sub.p)
		if !ok || !d.isDomain() || d.domain == c.Domain {
			return fmt.Errorf("xmpptest: %q is not a domain of its own", *sub.p)
		}
		*sub.p = d.domain
	}
	if c.Rooms == c.PubSub {
		return fmt.Errorf("xmpptest: Config.Rooms and PubSub are both %q", c.Rooms)
	}
	c.Addr = cmp.Or(c.Addr, "127.0.0.1")
	if _, err := netip.ParseAddr(c.Addr); err != nil {
		return fmt.Errorf("xmpptest: Config.Addr: %w", err)
	}
	if c.Listen == nil {
		c.Listen = new(net.ListenConfig).Listen
	}
	if c.Mechanisms == nil {
		c.Mechanisms = []string{"SCRAM-SHA-512-PLUS", "SCRAM-SHA-256-PLUS", "SCRAM-SHA-1-PLUS", "SCRAM-SHA-512", "SCRAM-SHA-256", "SCRAM-SHA-1", "PLAIN"}
	}
	c.Hibernate = cmp.Or(c.Hibernate, 5*time.Minute)
	c.Limits.complete()
	if c.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
	}
	return nil
}
