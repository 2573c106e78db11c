package xmppdial

import (
	"bufio"
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strings"
	"time"

	"golang.org/x/net/proxy"
)

// maxProxyHeader bounds what an HTTP proxy may answer.
const maxProxyHeader = 16 << 10

// ProxyError says what a proxy has against a connection, or what is wrong with the proxy.
type ProxyError struct {
	Proxy  string // scheme and host, without user and password
	Status int    // of an HTTP proxy that refuses; 407 means that user and password are missing or wrong. Otherwise 0
	Err    error  // nil if Status tells all
}

func (e *ProxyError) Error() string {
	if e.Err == nil {
		return fmt.Sprintf("xmppdial: proxy %s answers %d %s", e.Proxy, e.Status, http.StatusText(e.Status))
	}
	return fmt.Sprintf("xmppdial: proxy %s: %v", e.Proxy, e.Err)
}

func (e *ProxyError) Unwrap() error { return e.Err }

// Timeout implements net.Error.
func (e *ProxyError) Timeout() bool { return isTimeout(e.Err) }

// Temporary implements net.Error.
func (e *ProxyError) Temporary() bool { return e.Timeout() }

// Via returns a function that dials through a proxy, which dial connects to; nil means the network of the system. The proxy is "socks5://host:port" or, the same,
// "socks5h://" (RFC 1928; port 1080 if there is none), or "http://host:port" (CONNECT, RFC 9110 §9.3.6; port 80), with user and password if it wants
// them: for SOCKS RFC 1929, for HTTP the Basic scheme, both in the clear.
//
// Names are resolved by the proxy: a [Dialer] with such a function needs no Resolver. Errors while dialling are a [*ProxyError].
func Via(to *url.URL, dial DialFunc) (DialFunc, error) {
	if dial == nil {
		dial = new(net.Dialer).DialContext
	}
	p := &via{name: to.Scheme + "://" + to.Host, user: to.User, dial: dial}
	port := "1080"
	switch to.Scheme {
	case "socks5", "socks5h":
		p.connect = p.socks
	case "http":
		p.connect, port = p.http, "80"
	default:
		return nil, &ProxyError{Proxy: p.name, Err: errors.New("no known kind of proxy")}
	}
	host, err := ASCII(to.Hostname())
	if err != nil {
		return nil, &ProxyError{Proxy: p.name, Err: err}
	}
	if to.Port() != "" {
		port = to.Port()
	}
	p.address = net.JoinHostPort(host, port)
	return p.dialContext, nil
}

// via is a proxy.
type via struct {
	name    string
	address string
	user    *url.Userinfo
	dial    DialFunc
	connect func(ctx context.Context, address string) (net.Conn, error)
}

func (p *via) dialContext(ctx context.Context, network, address string) (net.Conn, error) {
	if network != "tcp" {
		return nil, &ProxyError{Proxy: p.name, Err: net.UnknownNetworkError(network)}
	}
	// What goes to the proxy has to be a host and a port, and nothing that its protocol could take for something else.
	host, port, err := splitHostPort(address)
	if err == nil && (port == 0 || strings.Contains(host, "%")) {
		err = &net.AddrError{Err: "not for a proxy", Addr: address} // without a port, or with a zone, which is ours alone
	}
	if err != nil {
		return nil, &ProxyError{Proxy: p.name, Err: err}
	}
	c, err := p.connect(ctx, Target{Host: host, Port: port}.Address())
	if err != nil {
		// What ends with the context is seen as a deadline of the connection, perhaps even before the context is over.
		if at, ok := ctx.Deadline(); ok && !time.Now().Before(at) {
			err = context.DeadlineExceeded
		}
		if ctx.Err() != nil {
			err = context.Cause(ctx)
		}
		var refused *ProxyError
		if errors.As(err, &refused) {
			return nil, refused
		}
		return nil, &ProxyError{Proxy: p.name, Err: err}
	}
	return c, nil
}

// forward gives package proxy our function.
type forward DialFunc

func (f forward) Dial(network, address string) (net.Conn, error) {
	return f(context.Background(), network, address)
}

func (f forward) DialContext(ctx context.Context, network, address string) (net.Conn, error) {
	return f(ctx, network, address)
}

func (p *via) socks(ctx context.Context, address string) (net.Conn, error) {
	var auth *proxy.Auth
	if p.user != nil {
		auth = &proxy.Auth{User: p.user.Username()}
		auth.Password, _ = p.user.Password()
	}
	d, err := proxy.SOCKS5("tcp", p.address, auth, forward(p.dial))
	if err != nil {
		return nil, err
	}
	return d.(proxy.ContextDialer).DialContext(ctx, "tcp", address)
}

func (p *via) http(ctx context.Context, address string) (_ net.Conn, err error) {
	c, err := p.dial(ctx, "tcp", p.address)
	if err != nil {
		return nil, err
	}
	stop := context.AfterFunc(ctx, func() { _ = c.SetDeadline(time.Unix(1, 0)) })
	defer func() {
		if !stop() && err == nil {
			err = context.Cause(ctx) // the deadline is being set
		}
		if err != nil {
			c.Close()
		}
	}()
	var b strings.Builder
	fmt.Fprintf(&b, "CONNECT %s HTTP/1.1\r\nHost: %s\r\n", address, address)
	if p.user != nil {
		password, _ := p.user.Password()
		fmt.Fprintf(&b, "Proxy-Authorization: Basic %s\r\n", base64.StdEncoding.EncodeToString([]byte(p.user.Username()+":"+password)))
	}
	b.WriteString("\r\n")
	if _, err := io.WriteString(c, b.String()); err != nil {
		return nil, err
	}
	limit := &io.LimitedReader{R: c, N: maxProxyHeader}
	br := bufio.NewReader(limit)
	resp, err := http.ReadResponse(br, &http.Request{Method: http.MethodConnect})
	if err != nil {
		if limit.N <= 0 {
			err = errors.New("the answer is too long")
		}
		return nil, err
	}
	if resp.StatusCode/100 != 2 { // any 2xx is a tunnel from here on (RFC 9110 §9.3.6)
		return nil, &ProxyError{Proxy: p.name, Status: resp.StatusCode}
	}
	if br.Buffered() == 0 {
		return c, nil
	}
	early, _ := br.Peek(br.Buffered())
	return &prefixed{Conn: c, early: early}, nil
}

// prefixed is a connection of which the first octets have been read.
type prefixed struct {
	net.Conn
	early []byte
}

func (c *prefixed) Read(b []byte) (int, error) {
	if len(c.early) > 0 {
		n := copy(b, c.early)
		c.early = c.early[n:]
		return n, nil
	}
	return c.Conn.Read(b)
}
