package xmppdial

import (
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"slices"
	"strings"

	"github.com/hoorn-phone/hoorn/internal/xmldoc"
)

// Bounds of host-meta.
const (
	maxHostMeta  = 64 << 10 // octets of a document
	maxRedirects = 5
	maxEndpoints = 8
	maxEndpoint  = 2048 // octets of one URL
)

// What XEP-0156 §2 and RFC 6415 §2, §3 call things.
const (
	relWebSocket = "urn:xmpp:alt-connections:websocket"
	xrdSpace     = "http://docs.oasis-open.org/ns/xri/xrd-1.0"
	hostMetaPath = "/.well-known/host-meta"
)

// ErrNoEndpoint says that a domain names no WebSocket.
var ErrNoEndpoint = errors.New("xmppdial: the domain names no WebSocket")

// HostMetaError is a host-meta document that is not to be had.
type HostMetaError struct {
	URL    string
	Status int   // of HTTP if that is what is wrong; otherwise 0
	Err    error // nil if Status tells all
}

func (e *HostMetaError) Error() string {
	if e.Err == nil {
		return fmt.Sprintf("xmppdial: %s: HTTP status %d", e.URL, e.Status)
	}
	return fmt.Sprintf("xmppdial: %s: %v", e.URL, e.Err)
}

func (e *HostMetaError) Unwrap() error { return e.Err }

// Timeout implements net.Error.
func (e *HostMetaError) Timeout() bool { return isTimeout(e.Err) }

// Temporary implements net.Error.
func (e *HostMetaError) Temporary() bool { return e.Timeout() }

// Web reaches servers by HTTPS and WebSocket. The zero value uses the network and the roots of the system.
type Web struct {
	// Dial opens connections and is given names, as [Dialer.DialContext] takes them. Nil means the network of the system.
	Dial DialFunc

	// TLS is the base of configurations, of which server name, protocols and InsecureSkipVerify are not looked at: the rules are those of HTTPS, for the
	// host of the URL. Nil means the defaults.
	TLS *tls.Config

	// MaxMessage is the longest message taken from a WebSocket, in octets. Zero means [DefaultMaxMessage].
	MaxMessage int64
}

// tlsConfig is for one host; "" leaves it to net/http.
func (w *Web) tlsConfig(host string) *tls.Config {
	cfg := new(tls.Config)
	if w.TLS != nil {
		cfg = w.TLS.Clone()
	}
	cfg.ServerName, cfg.NextProtos, cfg.InsecureSkipVerify = host, nil, false
	cfg.MinVersion = max(cfg.MinVersion, tls.VersionTLS12)
	return cfg
}

func (w *Web) dial() DialFunc {
	if w.Dial != nil {
		return w.Dial
	}
	return new(Dialer).DialContext
}

// Endpoints asks the domain where its WebSockets are (XEP-0156 §2): by the XML document of RFC 6415, which every such domain has, and by the one in JSON if that has
// none. XEP-0156 wants this tried only when what DNS led to has failed. The URLs are wss, at most 8, and their order means nothing.
//
// Documents come by HTTPS alone, with at most 5 redirects and 64 KB. Errors are [ErrNoEndpoint], and [*HostMetaError] for each document that the server does not
// give, that is no host-meta or that names only what is not wss.
func (w *Web) Endpoints(ctx context.Context, domain string) ([]string, error) {
	host, err := ASCII(domain)
	if err != nil {
		return nil, err
	}
	if strings.Contains(host, ":") {
		host = "[" + host + "]"
	}
	cfg := w.tlsConfig("")
	cfg.Certificates, cfg.GetClientCertificate = nil, nil // who we are is not this server's business
	transport := &http.Transport{
		DialContext: w.dial(), TLSClientConfig: cfg,
		MaxResponseHeaderBytes: maxHandshake, DisableCompression: true, DisableKeepAlives: true,
	}
	defer transport.CloseIdleConnections()
	client := &http.Client{Transport: transport, CheckRedirect: func(req *http.Request, via []*http.Request) error {
		if req.URL.Scheme != "https" {
			return errors.New("redirected to what is not https")
		}
		if len(via) > maxRedirects {
			return errors.New("redirected too often")
		}
		return nil
	}}
	var failed []error
	for _, d := range []struct {
		path  string
		parse func([]byte) ([]string, error)
	}{{hostMetaPath, parseHostMeta}, {hostMetaPath + ".json", parseHostMetaJSON}} {
		at := "https://" + host + d.path
		endpoints, reached, err := fetch(ctx, client, at, d.parse)
		if err == nil && len(endpoints) > 0 {
			return endpoints, nil
		}
		var e *HostMetaError
		if errors.As(err, &e) && e.Status == http.StatusNotFound {
			err = nil
		}
		if err != nil {
			failed = append(failed, err)
		}
		if !reached {
			break // nor would the other document be
		}
	}
	if len(failed) == 0 {
		return nil, ErrNoEndpoint
	}
	return nil, errors.Join(failed...)
}

// fetch gets one document. reached tells whether the server has answered, well or not.
func fetch(ctx context.Context, client *http.Client, at string, parse func([]byte) ([]string, error)) (endpoints []string, reached bool, err error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, at, nil)
	if err != nil {
		return nil, false, &HostMetaError{URL: at, Err: err}
	}
	resp, err := client.Do(req)
	if err != nil {
		var e *url.Error
		if errors.As(err, &e) {
			err = e.Err // it names the URL as well
		}
		return nil, resp != nil, &HostMetaError{URL: at, Err: err} // there is a response if only where it redirects to is no good
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return nil, true, &HostMetaError{URL: at, Status: resp.StatusCode}
	}
	b, err := io.ReadAll(io.LimitReader(resp.Body, maxHostMeta+1))
	if err != nil {
		return nil, false, &HostMetaError{URL: at, Err: err}
	}
	if len(b) > maxHostMeta {
		return nil, true, &HostMetaError{URL: at, Err: xmldoc.ErrSize}
	}
	if endpoints, err = parse(b); err != nil {
		return nil, true, &HostMetaError{URL: at, Err: err}
	}
	return endpoints, true, nil
}

// link is one of a host-meta document (RFC 6415 §3.1.1).
type link struct {
	Rel  string `xml:"rel,attr" json:"rel"`
	Href string `xml:"href,attr" json:"href"`
}

// parseHostMeta reads the document in XML (RFC 6415 §3.1).
func parseHostMeta(b []byte) ([]string, error) {
	var doc struct {
		Links []link `xml:"Link"`
	}
	if err := xmldoc.Decode(b, xrdSpace, "XRD", &doc); err != nil {
		return nil, err
	}
	return webSockets(doc.Links)
}

// parseHostMetaJSON reads the document in JSON (RFC 6415 Appendix A).
func parseHostMetaJSON(b []byte) ([]string, error) {
	var doc struct {
		Links []link `json:"links"`
	}
	if err := json.Unmarshal(b, &doc); err != nil {
		return nil, err
	}
	return webSockets(doc.Links)
}

// webSockets are the links to WebSockets that can be used. It is an error if there are only others.
func webSockets(links []link) ([]string, error) {
	var list []string
	var bad error
	for _, l := range links {
		if l.Rel != relWebSocket {
			continue
		}
		u, err := parseEndpoint(l.Href)
		if err != nil {
			bad = err
			continue
		}
		if s := u.String(); len(list) < maxEndpoints && !slices.Contains(list, s) {
			list = append(list, s)
		}
	}
	if len(list) == 0 {
		return nil, bad
	}
	return list, nil
}

// parseEndpoint reads the URL of a WebSocket (RFC 6455 §3), which has to be an encrypted one.
func parseEndpoint(s string) (*url.URL, error) {
	if len(s) > maxEndpoint {
		return nil, errors.New("the URL of the WebSocket is too long")
	}
	u, err := url.Parse(s)
	if err != nil {
		return nil, err
	}
	if u.Scheme != "wss" {
		return nil, fmt.Errorf("%q is no wss URL", s)
	}
	if u.Opaque != "" || u.User != nil || u.Fragment != "" {
		return nil, fmt.Errorf("%q is not the URL of a WebSocket", s)
	}
	if _, _, err := splitHostPort(u.Host); err != nil {
		return nil, err
	}
	return u, nil
}
