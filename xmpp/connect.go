package xmpp

import (
	"cmp"
	"context"
	"crypto/rand"
	"crypto/tls"
	"errors"
	"fmt"
	"net/url"
	"strings"
	"time"

	"github.com/hoorn-phone/hoorn/internal/locate"
	"github.com/hoorn-phone/hoorn/internal/sasl"
	"github.com/hoorn-phone/hoorn/internal/xmppdial"
	"github.com/hoorn-phone/hoorn/internal/xmpplink"
)

// maxRedirects bounds see-other-host in a row (RFC 6120 §4.9.3.19).
const maxRedirects = 3

// way is how a client reaches its server: everything that does not change between attempts.
type way struct {
	finder xmppdial.Finder
	dialer xmppdial.Dialer
	web    xmppdial.Web
	server xmppdial.Query // with Server, if the user said where it is
	wss    string         // the endpoint, if the user said that
	link   xmpplink.Config
	memory xmpplink.Memory // of servers over TCP
	webs   xmpplink.Memory // and behind WebSockets, where TLS may end at a proxy

	redirect string // where the server sent us; "" is nowhere
	direct   bool   // that the last connection began with TLS
}

func (c *Client) prepare() error {
	cfg := &c.cfg
	w := &c.way
	base := &tls.Config{ClientSessionCache: tls.NewLRUClientSessionCache(4)}
	if t := cfg.TLS; t != nil {
		base.RootCAs, base.Certificates, base.MinVersion = t.RootCAs, t.Certificates, t.MinVersion
	}
	resolver := cfg.Network.Resolver
	if resolver == nil {
		resolver = new(locate.System)
	}
	w.dialer = xmppdial.Dialer{Dial: cfg.Network.Dial, Resolver: resolver}
	if cfg.Network.Proxy != "" {
		proxy, err := url.Parse(cfg.Network.Proxy)
		if err != nil {
			return errors.New("xmpp: Network.Proxy is no URL") // which may have a password
		}
		if w.dialer.Dial, err = xmppdial.Via(proxy, cfg.Network.Dial); err != nil {
			return fmt.Errorf("xmpp: Network.Proxy: %w", err)
		}
		w.dialer.Resolver = nil
	}
	w.finder.Resolver = resolver
	w.web = xmppdial.Web{Dial: w.dialer.DialContext, TLS: base, MaxMessage: int64(cfg.MaxStanza)}
	w.server = xmppdial.Query{Domain: cfg.Account.Domainpart()}
	switch {
	case strings.HasPrefix(cfg.Server, "wss://"):
		w.wss = cfg.Server
	case strings.HasPrefix(cfg.Server, "xmpps://"):
		w.server.Server, w.server.Direct = strings.TrimPrefix(cfg.Server, "xmpps://"), true
	case strings.Contains(cfg.Server, "://"):
		return errors.New("xmpp: Config.Server has a scheme that is neither xmpps nor wss")
	default:
		w.server.Server = cfg.Server
	}
	agent, tokens := cfg.Agent, cfg.Tokens
	switch {
	case tokens != nil && agent.ID == "":
		return errors.New("xmpp: Config.Tokens needs an Agent.ID that lasts as long")
	case tokens == nil:
		tokens = new(xmpplink.MemoryTokens)
	}
	agent.ID = cmp.Or(agent.ID, newUUID())
	agent.Software = cmp.Or(agent.Software, cfg.Software.Name)
	w.link = xmpplink.Config{
		Agent: agent, Tokens: tokens, Memory: &w.memory,
		Account: cfg.Account.Bare(), Resource: cfg.Account.Resourcepart(), Lang: cfg.Lang, TLS: base, MaxSize: cfg.MaxStanza,
		Timing: xmpplink.Timing{Idle: cfg.Timing.Idle, Answer: cfg.Timing.Answer}, Logger: c.log, Keys: new(sasl.Keys),
		Policy: sasl.Policy{AllowPlain: cfg.AllowPlain, Certificate: len(base.Certificates) > 0},
	}
	return nil
}

// newUUID returns a random one (RFC 9562 §5.4).
func newUUID() string {
	var b [16]byte
	rand.Read(b[:])
	b[6], b[8] = b[6]&0x0f|0x40, b[8]&0x3f|0x80
	return fmt.Sprintf("%x-%x-%x-%x-%x", b[:4], b[4:6], b[6:8], b[8:10], b[10:])
}

// connect makes one attempt at a stream.
func (c *Client) connect() (*xmpplink.Stream, error) {
	ctx, cancel := context.WithTimeout(c.ctx, cmp.Or(c.cfg.Timing.Setup, time.Minute))
	defer cancel()
	creds, err := c.cfg.Credentials(ctx)
	if err != nil {
		return nil, &Error{Stage: xmpplink.StageAuth, Err: err}
	}
	w := &c.way
	w.link.Inline = c.inline
	w.link.Credentials = sasl.Credentials{Username: cmp.Or(creds.Username, c.cfg.Account.Localpart()), Password: creds.Password}
	c.mu.Lock()
	session := c.session
	c.mu.Unlock()
	if !session.Resumable() {
		session = nil
	}
	for range maxRedirects {
		stream, err := w.attempt(ctx, session)
		var other *StreamError
		if !errors.As(err, &other) || other.Host == "" {
			w.redirect = ""
			return stream, err
		}
		w.redirect = other.Host
	}
	w.redirect = ""
	return nil, &Error{Stage: xmpplink.StageOpen, Err: fmt.Errorf("more than %d redirections", maxRedirects)}
}

// attempt tries all ways to the server.
func (w *way) attempt(ctx context.Context, session *xmpplink.Session) (*xmpplink.Stream, error) {
	switch at := w.redirect; {
	case strings.HasPrefix(at, "wss://"):
		return w.webSocket(ctx, at, session)
	case w.wss != "" && at == "":
		return w.webSocket(ctx, w.wss, session)
	case strings.Contains(at, "://"):
		return nil, &Error{Stage: xmpplink.StageLocate, Err: fmt.Errorf("the server sends us to %.200q", at)} // RFC 7395 §3.6.1 knows others, of which none is as safe
	case at != "":
		return w.tcp(ctx, w.elsewhere(at), session)
	}
	if at := session.Location(); at != "" {
		stream, err := w.tcp(ctx, w.elsewhere(at), session)
		if err == nil || !reachable(err) || ctx.Err() != nil {
			return stream, err
		}
		// XEP-0198 §5: it was where the server preferred it.
	}
	stream, err := w.tcp(ctx, w.server, session)
	if err == nil || w.server.Server != "" || !reachable(err) || ctx.Err() != nil {
		return stream, err
	}
	// XEP-0156: what DNS led to has failed; a network that lets only HTTPS through may do.
	urls, failed := w.web.Endpoints(ctx, w.server.Domain)
	if failed != nil {
		return nil, err
	}
	for _, endpoint := range urls {
		if stream, failed = w.webSocket(ctx, endpoint, session); failed == nil || !reachable(failed) {
			return stream, failed
		}
	}
	return nil, errors.Join(err, failed)
}

// elsewhere is another host of the same server, with TLS as before.
func (w *way) elsewhere(at string) xmppdial.Query {
	query := w.server
	query.Server, query.Direct = at, w.direct
	return query
}

// reachable tells whether another way to the server may help: it was not reached, or not safely.
func reachable(err error) bool {
	var e *Error
	if !errors.As(err, &e) {
		return false
	}
	switch e.Stage {
	case xmpplink.StageLocate, xmpplink.StageConnect, xmpplink.StageTLS:
		return true
	case xmpplink.StageOpen:
		var s *StreamError
		return !errors.As(err, &s) || s.Host == ""
	}
	return false
}

func (w *way) tcp(ctx context.Context, query xmppdial.Query, session *xmpplink.Session) (*xmpplink.Stream, error) {
	targets, err := w.finder.Find(ctx, query)
	if err != nil {
		return nil, &Error{Stage: xmpplink.StageLocate, Err: err}
	}
	race := w.dialer.Race(targets)
	var last error
	for {
		conn, target, err := race.Next(ctx)
		if err != nil {
			if last != nil && ctx.Err() == nil {
				return nil, last // that of who answered says more
			}
			return nil, &Error{Stage: xmpplink.StageConnect, Err: err}
		}
		w.direct = target.Direct
		stream, err := w.link.Open(ctx, &xmpplink.Conn{Net: conn, Target: target}, session)
		if err == nil {
			return stream, nil
		}
		if !reachable(err) || ctx.Err() != nil {
			return nil, err
		}
		race.Refuse(err)
		last = err
	}
}

func (w *way) webSocket(ctx context.Context, endpoint string, session *xmpplink.Session) (*xmpplink.Stream, error) {
	ws, err := w.web.DialWebSocket(ctx, endpoint)
	if err != nil {
		return nil, &Error{Stage: xmpplink.StageConnect, Err: err}
	}
	link := w.link
	link.Memory = &w.webs
	return link.Open(ctx, &xmpplink.Conn{WebSocket: ws}, session)
}
