// Package xmpp is a client for XMPP (RFC 6120, RFC 6121) that outlives its
// connection: signed in once, it resumes or reconnects by itself until it is closed.
//
//	c, err := xmpp.New(&xmpp.Config{Account: jid.MustParse("alice@example.com"), Credentials: xmpp.Password("secret")})
//	…
//	if err := c.Connect(ctx); err != nil { … }
//	defer c.Close(context.Background())
//	for m := range c.Messages(ctx) {
//		reply := &xmpp.Message{Payload: []*xmltree.Element{xmltree.NewText(xmpp.NSClient, "body", "You said: "+m.Body())}}
//		reply.To, reply.Type = m.From, m.Type
//		c.Send(ctx, reply)
//	}
//
// Most programs want package chat, which knows what a conversation is. This
// package knows stanzas: it sends and delivers them in order, matches answers to
// requests, and lets extensions take their part.
package xmpp

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"iter"
	"log/slog"
	"net"
	"sync"
	"time"

	mellium "mellium.im/xmpp"
	"mellium.im/xmpp/jid"

	"github.com/hoorn-phone/hoorn/internal/locate"
	"github.com/hoorn-phone/hoorn/internal/xmpplink"
	"github.com/hoorn-phone/hoorn/xmpp/xmltree"
)

// Config is what a [Client] is made of. Account and Credentials are required.
type Config struct {
	// Account is the bare address, such as "alice@example.com". A resource in it is a wish
	// (RFC 6120 §7.7); without one the server chooses.
	Account jid.JID

	// Credentials are asked for at each login. Password is the simple case.
	Credentials func(ctx context.Context) (Credentials, error)

	// AllowPlain allows the mechanism PLAIN, which shows the password to the
	// server. It is used only under TLS and when the server has nothing better.
	AllowPlain bool

	// Agent is who this client is among those of the account, for servers with SASL2 (XEP-0388). Without an
	// ID there is one that lasts as long as the client; without a name of software, Software's.
	Agent Agent

	// Tokens keeps the token with which the client signs in again without the
	// password and in one round trip, where the server has such tokens (FAST, XEP-0484). One that is kept for longer than the
	// process needs Agent.ID. Nil keeps it in memory. A refused or expired token is deleted, and the password used.
	Tokens TokenStore

	// Server is where to connect, as "host:port", instead of what DNS says; with
	// the scheme "xmpps://" TLS begins at once, with "wss://" it is a WebSocket. The certificate must name the account's domain all the same.
	Server string

	// TLS says how the server is verified and who we are to it. Nil is the zero
	// value: the system's roots, TLS 1.2 or newer.
	TLS *TLSConfig

	// Software is who we say we are to those who ask (XEP-0092, XEP-0030); the zero value tells nothing.
	Software Software

	// Lang is the language of texts for people, such as "de"; "" leaves it open.
	Lang string

	// NoPresence leaves it to SetPresence to send presence: nobody sees us until
	// then, and no message is delivered that goes to the bare address.
	NoPresence bool

	// MessageQueue is how many messages may wait for Messages; more are
	// answered with resource-constraint, and so not lost to who sent them. Those of rooms,
	// which cannot be answered, are counted and logged. Zero means 256.
	MessageQueue int

	// MaxStanza is the longest stanza that is taken, in bytes; longer ones are
	// left out and logged. Zero means 1 MB.
	MaxStanza int

	// GiveUp decides whether an error with which a connection ended, or could
	// not be made, ends the client. It must not block. Nil is DefaultGiveUp.
	GiveUp func(err error) bool

	// Timing says when the client looks whether the server is still there, and
	// how long it waits before it tries again.
	Timing Timing

	// Network is what the client talks through; the zero value is the system's.
	Network Network

	// Logger hears what happens; nil is silent. Passwords, keys and bodies are never logged.
	Logger *slog.Logger
}

// Credentials prove who we are.
type Credentials struct {
	Username string // "" is the local part of the account
	Password string
}

// Password returns credentials that are always the same.
func Password(password string) func(context.Context) (Credentials, error) {
	return func(context.Context) (Credentials, error) { return Credentials{Password: password}, nil }
}

// TLSConfig says how servers are verified. Its zero value is strict.
type TLSConfig struct {
	// RootCAs are whom to trust; nil is the system's.
	RootCAs *x509.CertPool
	// Certificates are ours, for a login by certificate (SASL EXTERNAL, XEP-0178). Nil: none.
	Certificates []tls.Certificate
	// MinVersion is the oldest version of TLS, such as tls.VersionTLS13; zero is TLS 1.2.
	MinVersion uint16
}

// Software names a program (XEP-0092).
type Software struct{ Name, Version, OS string }

// Network is what a client reaches the world through. Nil fields are the
// system's. Tests give an in-memory network.
type Network struct {
	Dial func(ctx context.Context, network, addr string) (net.Conn, error)
	// Resolver finds servers (XEP-0368); nil asks the system's name servers.
	Resolver Resolver
	// Proxy is "socks5://host:port" or "http://host:port", with "user:password@" if need be; "" is none.
	Proxy string
}

// Agent, Token and TokenStore are of Config.
type (
	// Agent is who a client is among those of an account. Only the server sees it.
	Agent = xmpplink.Agent
	// Token signs in instead of a password. It is as secret as one, and never shown when printed or logged.
	Token = xmpplink.Token
	// TokenStore keeps the token of one account and client.
	TokenStore = xmpplink.TokenStore
)

// Resolver asks DNS for Network.
type Resolver = locate.Resolver

// SRV is what a Resolver answers with.
type SRV = locate.SRV

// Timing are the times of a client. Zero fields have the values given.
type Timing struct {
	// Idle is how long nothing may arrive before the server is asked for a sign
	// of life. Zero means 4 min; negative never asks.
	Idle time.Duration
	// Answer is how long it has for that. Zero means 30 s.
	Answer time.Duration
	// Setup bounds one attempt to connect and sign in. Zero means 60 s.
	Setup time.Duration
	// MinRetry and MaxRetry bound the wait between attempts, which doubles and
	// is scattered, so that thousands of clients do not come back at once. Zero means 1 s and 2 min.
	MinRetry, MaxRetry time.Duration
}

func orDefault[T int | time.Duration](v, def T) T {
	if v == 0 {
		return def
	}
	return v
}

// State is what a client is doing.
type State uint8

// The states.
//
//	Offline ── Connect ──▶ Connecting ──▶ Online ──┐
//	                         ▲     │               │ stream lost
//	                         └─ Waiting ◀──────────┘
//	any ── Close, or an error to give up at ──▶ Closed
const (
	Offline    State = iota // not started
	Connecting              // on the way
	Online                  // signed in
	Waiting                 // until the next attempt
	Closed
)

func (s State) String() string {
	return [...]string{"offline", "connecting", "online", "waiting", "closed"}[min(s, Closed)]
}

// Status is the state of a client, with what belongs to it.
type Status struct {
	State   State
	JID     jid.JID   // full, while there is a session
	Resumed bool      // Online: the session of before goes on
	Until   time.Time // Waiting: when the next attempt begins
	Err     error     // Waiting, Closed: why
}

// Errors of a client.
var (
	// ErrClosed says that the client was closed.
	ErrClosed = xmpplink.ErrClosed
	// ErrUnknown says of a stanza or a request that the session ended before its fate was
	// known: it may have been handled or not.
	ErrUnknown = xmpplink.ErrUnknown
)

// The errors that a connection ends with.
type (
	// Error says in which stage a connection failed.
	Error = xmpplink.Error
	// Stage is a step on the way to a stream.
	Stage = xmpplink.Stage
	// AuthError is a refused login, or a server that did not prove who it is.
	AuthError = xmpplink.AuthError
	// TasksError says that the server wants a second factor or the like (XEP-0388). An AuthError holds it.
	TasksError = xmpplink.TasksError
	// SizeError says that a stanza is longer than the server takes (XEP-0478), and was not sent.
	SizeError = xmpplink.SizeError
	// StreamError is how a server ended a stream (RFC 6120 §4.9).
	StreamError = xmpplink.StreamError
)

// DefaultGiveUp gives up at what does not mend by itself: a login that is
// refused, an account that is gone, and another client that took the session's place (conflict).
func DefaultGiveUp(err error) bool {
	var auth *AuthError
	var stream *StreamError
	switch {
	case errors.As(err, &auth):
		return auth.Permanent()
	case errors.As(err, &stream):
		return stream.Permanent()
	}
	return false
}

// Client is a client of one account. Its methods may be called by anybody at any time.
type Client struct {
	cfg Config
	log *slog.Logger

	handlers map[IQName]IQHandler
	requests chan struct{} // tokens of handlers that run
	messages *queue[*Message]
	roster   *Roster
	disco    disco
	way      way    // of the goroutine that connects
	parser   parser // of the goroutine that reads

	mu         sync.Mutex
	started    bool
	extensions []*Extension
	inline     []*xmltree.Element // of extensions; fixed by Connect
	inlined    []string           // namespaces of those that the session began with
	status     Status
	changed    chan struct{} // closed and replaced when status changes
	stream     *xmpplink.Stream
	session    *xmpplink.Session
	epoch      uint64 // counts sessions
	waiters    map[string]*waiter
	waiting    int // requests of others that are not answered yet
	adapter    *mellium.Session
	shown      *Presence // what everybody sees; nil before the first
	tried      error     // how the last attempt to connect ended
	inactive   bool      // XEP-0352
	retry      chan struct{}
	closing    bool

	ctx    context.Context // of everything that runs; ends with the client
	cancel context.CancelCauseFunc
	wg     sync.WaitGroup
	done   chan struct{}
}

// New makes a client, which does nothing until Connect.
func New(cfg *Config) (*Client, error) {
	if cfg == nil || cfg.Account.Localpart() == "" || cfg.Account.Domainpart() == "" {
		return nil, errors.New("xmpp: Config.Account is not an account's address")
	}
	if cfg.Credentials == nil {
		return nil, errors.New("xmpp: Config.Credentials is nil")
	}
	c := &Client{
		cfg: *cfg, log: cfg.Logger, handlers: make(map[IQName]IQHandler), requests: make(chan struct{}, maxRunning),
		messages: newQueue[*Message](orDefault(cfg.MessageQueue, 256)), changed: make(chan struct{}), waiters: make(map[string]*waiter),
		retry: make(chan struct{}, 1), done: make(chan struct{}),
	}
	if c.log == nil {
		c.log = slog.New(slog.DiscardHandler)
	}
	if c.cfg.GiveUp == nil {
		c.cfg.GiveUp = DefaultGiveUp
	}
	c.ctx, c.cancel = context.WithCancelCause(context.Background())
	c.roster = newRoster(c)
	if err := errors.Join(c.Use(c.roster.extension()), c.Use(c.disco.extension(c)), c.prepare()); err != nil {
		return nil, err
	}
	return c, nil
}

// Account is the bare address of the account.
func (c *Client) Account() jid.JID { return c.cfg.Account.Bare() }

// JID is the full address of the session; the account's before there is one.
func (c *Client) JID() jid.JID {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.session == nil {
		return c.cfg.Account.Bare()
	}
	return c.session.JID
}

// Status tells what the client is doing.
func (c *Client) Status() Status {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.status
}

// Statuses yields the status now and then each change, until ctx or the client
// ends. Changes that come while the last is looked at are skipped: what is yielded is the newest.
func (c *Client) Statuses(ctx context.Context) iter.Seq[Status] {
	return func(yield func(Status) bool) {
		for {
			c.mu.Lock()
			s, changed := c.status, c.changed
			c.mu.Unlock()
			if !yield(s) || s.State == Closed {
				return
			}
			select {
			case <-changed:
			case <-ctx.Done():
				return
			}
		}
	}
}

func (c *Client) setStatus(s Status) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.status.State == Closed {
		return
	}
	c.status = s
	close(c.changed)
	c.changed = make(chan struct{})
}

// Connect starts the client and waits until it is signed in for the first
// time. Attempts that fail are repeated until ctx ends; the error is then that of the
// last one, with its stage, and ctx's. An error that GiveUp decides on is returned at once. In both cases the client is closed.
func (c *Client) Connect(ctx context.Context) error {
	c.mu.Lock()
	if c.started {
		c.mu.Unlock()
		return ErrStarted
	}
	if c.closing {
		c.mu.Unlock()
		return ErrClosed
	}
	c.started = true
	c.disco.settle(c.cfg.Software.Name, c.extensions)
	c.wg.Add(1)
	c.mu.Unlock()
	go c.run()
	for s := range c.Statuses(ctx) {
		switch s.State {
		case Online:
			return nil
		case Closed:
			return s.Err
		}
	}
	cause := context.Cause(ctx)
	c.end(cause)
	<-c.done
	c.mu.Lock()
	defer c.mu.Unlock()
	switch {
	case c.tried == nil:
		return cause
	case errors.Is(c.tried, cause):
		return c.tried
	}
	return fmt.Errorf("%w (%w)", c.tried, cause)
}

// Wait waits until the client has ended and tells why: ErrClosed after Close,
// else what GiveUp decided on. If ctx ends first, it is ctx's error.
func (c *Client) Wait(ctx context.Context) error {
	select {
	case <-c.done:
		return c.Status().Err
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// Close signs out: what was sent is written, the stream is closed in order (RFC 6120 §4.4), and the session is over. If
// ctx ends first, the connection is cut. It returns when nothing of the client runs any more.
func (c *Client) Close(ctx context.Context) error {
	c.mu.Lock()
	stream, started := c.stream, c.started
	c.closing = true
	c.mu.Unlock()
	if stream != nil {
		stream.Close(ctx)
	}
	c.end(ErrClosed)
	if started {
		<-c.done
	}
	return nil
}

// end makes the client stop.
func (c *Client) end(err error) {
	c.mu.Lock()
	stream, started := c.stream, c.started
	c.closing = true
	c.mu.Unlock()
	c.cancel(err)
	if stream != nil {
		stream.Cut(err)
	}
	if !started {
		c.setStatus(Status{State: Closed, Err: err})
	}
}

// NetworkChanged tells the client that the way to the server may be another
// one: it looks at once whether the connection is alive, and does not wait for the next attempt.
// Package sip has the same.
func (c *Client) NetworkChanged() {
	c.mu.Lock()
	stream := c.stream
	c.mu.Unlock()
	if stream != nil {
		stream.Probe()
	}
	select {
	case c.retry <- struct{}{}:
	default:
	}
}
