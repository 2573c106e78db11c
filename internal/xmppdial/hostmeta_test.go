package xmppdial

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hoorn-phone/hoorn/internal/memnet"
	"github.com/hoorn-phone/hoorn/internal/testca"
	"github.com/hoorn-phone/hoorn/internal/xmldoc"
)

// XEP-0156, the examples of §2 in both formats.
const (
	exampleXRD = `<?xml version='1.0' encoding='utf-8'?>
<XRD xmlns='http://docs.oasis-open.org/ns/xri/xrd-1.0'>
  <Link rel="urn:xmpp:alt-connections:xbosh"
        href="https://web.example.com:5280/bosh" />
  <Link rel="urn:xmpp:alt-connections:websocket"
        href="wss://web.example.com:443/ws" />
</XRD>`
	exampleJRD = `{
  "links": [
    {
      "rel": "urn:xmpp:alt-connections:xbosh",
      "href": "https://web.example.com:5280/bosh"
    },
    {
      "rel": "urn:xmpp:alt-connections:websocket",
      "href": "wss://web.example.com:443/ws"
    }
  ]
}`
)

func xrd(hrefs ...string) string {
	var b strings.Builder
	b.WriteString("<XRD xmlns='" + xrdSpace + "'>")
	for _, h := range hrefs {
		b.WriteString(`<Link rel="urn:xmpp:alt-connections:websocket" href="` + h + `"/>`)
	}
	return b.String() + "</XRD>"
}

// https runs an HTTPS server on a new host.
func (w *world) https(addr string, cfg *tls.Config, h http.Handler) *memnet.Host {
	w.t.Helper()
	host := w.n.Host(addr)
	l := must(host.Listen(w.t.Context(), "tcp", ":443"))(w.t)
	srv := &http.Server{Handler: h, ErrorLog: log.New(io.Discard, "", 0)}
	done := make(chan struct{})
	go func() {
		defer close(done)
		_ = srv.Serve(tls.NewListener(l, cfg))
	}()
	w.t.Cleanup(func() {
		w.closeAll()
		srv.Close()
		<-done
	})
	return host
}

func (w *world) web(a *authority) *Web { return &Web{Dial: w.dialer().DialContext, TLS: a.client()} }

// pages answers by path: a document, a status, or a place to go.
type pages map[string]any

func (p pages) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	switch v := p[r.URL.Path].(type) {
	case string:
		_, _ = io.WriteString(w, v)
	case int:
		w.WriteHeader(v)
	case http.HandlerFunc:
		v(w, r)
	default:
		http.NotFound(w, r)
	}
}

func redirect(to string) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) { http.Redirect(w, r, to, http.StatusFound) }
}

// XEP-0156 §2, RFC 6415 §2: the documents, where they are, and what a server may do instead.
func TestEndpoints_XEP0156(t *testing.T) {
	const xml, json = "/.well-known/host-meta", "/.well-known/host-meta.json"
	const want = "wss://web.example.com:443/ws"
	for _, tt := range []struct {
		name  string
		pages pages
		want  string
		err   error  // to be found by errors.Is
		text  string // in the error
	}{
		{name: "XML", pages: pages{xml: exampleXRD}, want: want},
		{name: "JSON alone", pages: pages{json: exampleJRD}, want: want},
		{name: "XML is broken, JSON is not", pages: pages{xml: "<XRD", json: exampleJRD}, want: want},
		{name: "XML names none, JSON does", pages: pages{xml: xrd(), json: exampleJRD}, want: want},
		{name: "several", pages: pages{xml: xrd("wss://a.example/ws", "wss://b.example/ws", "wss://a.example/ws")}, want: "wss://a.example/ws wss://b.example/ws"},
		{name: "many", pages: pages{xml: xrd("wss://1.example", "wss://2.example", "wss://3.example", "wss://4.example", "wss://5.example", "wss://6.example", "wss://7.example", "wss://8.example", "wss://9.example")},
			want: "wss://1.example wss://2.example wss://3.example wss://4.example wss://5.example wss://6.example wss://7.example wss://8.example"},
		{name: "redirected", pages: pages{xml: redirect("https://www.example.com/hm"), "/hm": exampleXRD}, want: want},

		{name: "none", err: ErrNoEndpoint},
		{name: "documents without", pages: pages{xml: xrd(), json: "{}"}, err: ErrNoEndpoint},
		{name: "status", pages: pages{xml: 500, json: 403}, text: "HTTP status 500"},
		{name: "ws", pages: pages{xml: xrd("ws://example.com/ws")}, text: "is no wss URL"},
		{name: "ws beside wss", pages: pages{xml: xrd("ws://example.com/ws", "http://example.com", "wss://example.com/ws")}, want: "wss://example.com/ws"},
		{name: "redirected to HTTP", pages: pages{xml: redirect("http://example.com/hm"), "/hm": exampleXRD}, text: "not https"},
		{name: "redirected in circles", pages: pages{xml: redirect(xml)}, text: "too often"},
		{name: "XML is redirected to HTTP, JSON is there", pages: pages{xml: redirect("http://example.com/hm"), json: exampleJRD}, want: want},
		{name: "redirected to a stranger", pages: pages{xml: redirect("https://evil.example/")}, text: "certificate"},
		{name: "large", pages: pages{xml: exampleXRD + strings.Repeat(" ", maxHostMeta), json: `{"links":[],"x":"` + strings.Repeat("x", maxHostMeta) + `"}`}, err: xmldoc.ErrSize},
		{name: "large header", pages: pages{xml: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.Header().Set("X", strings.Repeat("x", 1<<20)) })}, text: "exceeded"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w, a := newWorld(t), newAuthority(t)
				w.https("10.0.0.2", a.server(testca.Template{DNS: []string{"example.com", "www.example.com"}}), tt.pages)
				w.res.IP["example.com"], w.res.IP["www.example.com"], w.res.IP["evil.example"] = ips("10.0.0.2"), ips("10.0.0.2"), ips("10.0.0.2")
				got, err := w.web(a).Endpoints(t.Context(), "Example.com")
				if (err == nil) != (tt.want != "") || tt.err != nil && !errors.Is(err, tt.err) || err != nil && !strings.Contains(err.Error(), tt.text) {
					t.Errorf("error %v", err)
				}
				var e *HostMetaError
				if err != nil && !errors.Is(err, ErrNoEndpoint) && !errors.As(err, &e) {
					t.Errorf("error %T", err)
				}
				if s := strings.Join(got, " "); s != tt.want {
					t.Errorf("endpoints %s", s)
				}
				synctest.Wait()
				if w.open() != 0 {
					t.Errorf("%d connections are open", w.open())
				}
			})
		})
	}
}

// The domain itself has to vouch by HTTPS, with a certificate for its own name.
func TestEndpointsCertificate(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w, a := newWorld(t), newAuthority(t)
		var asked string
		cfg := a.server(testca.Template{DNS: []string{"web.example"}})
		cfg.ClientAuth = tls.RequestClientCert
		cfg.VerifyConnection = func(cs tls.ConnectionState) error {
			asked = fmt.Sprintf("%s %d", cs.ServerName, len(cs.PeerCertificates))
			return nil
		}
		w.https("10.0.0.2", cfg, pages{hostMetaPath: exampleXRD})
		w.res.IP["example.com"], w.res.IP["web.example"] = ips("10.0.0.2"), ips("10.0.0.2")
		web := w.web(a)
		web.TLS.InsecureSkipVerify, web.TLS.ServerName = true, "web.example"
		web.TLS.Certificates = []tls.Certificate{must(a.ca.Issue(testca.Template{CommonName: "romeo"}))(t)}
		_, err := web.Endpoints(t.Context(), "example.com")
		var host x509.HostnameError
		if !errors.As(err, &host) {
			t.Errorf("error %v", err)
		}
		if _, err := web.Endpoints(t.Context(), "web.example"); err != nil || asked != "web.example 0" {
			t.Errorf("server name and certificates %q, error %v", asked, err)
		}
	})
}

// A server that says nothing, or never ends, is left when the context ends; one that is not there is an error like others.
func TestEndpointsContext(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w, a := newWorld(t), newAuthority(t)
		w.https("10.0.0.2", a.server(testca.Template{DNS: []string{"a.example"}}), http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			for r.Context().Err() == nil {
				_, _ = io.WriteString(w, " ")
				_ = http.NewResponseController(w).Flush()
				time.Sleep(time.Second)
			}
		}))
		w.serve("10.0.0.3", "443", drain)
		w.res.IP["a.example"], w.res.IP["b.example"], w.res.IP["c.example"] = ips("10.0.0.2"), ips("10.0.0.3"), ips("10.0.0.4")
		for _, domain := range []string{"a.example", "b.example", "c.example"} {
			ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
			_, err := w.web(a).Endpoints(ctx, domain)
			var ne net.Error
			if !errors.Is(err, context.DeadlineExceeded) || !errors.As(err, &ne) || !ne.Timeout() {
				t.Errorf("%s: %v", domain, err)
			}
			cancel()
		}
		// What cannot be reached is not tried twice.
		begin := time.Now()
		var d *DialError
		if _, err := w.web(a).Endpoints(t.Context(), "c.example"); !errors.As(err, &d) || time.Since(begin) != DefaultAttemptTimeout {
			t.Errorf("%v after %v", err, time.Since(begin))
		}
		if _, err := w.web(a).Endpoints(t.Context(), "none.example"); err == nil {
			t.Error("an unknown domain has WebSockets")
		}
		if _, err := w.web(a).Endpoints(t.Context(), "a b"); err == nil {
			t.Error("what is no domain has WebSockets")
		}
		time.Sleep(time.Minute)
		synctest.Wait()
		if w.open() != 0 {
			t.Errorf("%d connections are open", w.open())
		}
	})
}

func TestParseHostMeta(t *testing.T) {
	for name, c := range map[string]struct{ doc, want string }{
		"example":             {exampleXRD, "wss://web.example.com:443/ws"},
		"without a namespace": {`<XRD><Link rel="urn:xmpp:alt-connections:websocket" href="wss://a.example/"/></XRD>`, "wss://a.example/"},
		"other root":          {`<html><Link rel="urn:xmpp:alt-connections:websocket" href="wss://a.example/"/></html>`, "error"},
		"DTD":                 {`<!DOCTYPE XRD [<!ENTITY a "wss://a.example/">]>` + xrd("&a;"), "error"},
		"deep":                {"<XRD>" + strings.Repeat("<a>", 1000) + strings.Repeat("</a>", 1000) + "</XRD>", "error"},
		"link in a link":      {"<XRD><x>" + xrd("wss://a.example/") + "</x></XRD>", ""},
		"other relation":      {`<XRD><Link rel="urn:xmpp:alt-connections:xbosh" href="wss://a.example/"/></XRD>`, ""},
		"user and password":   {xrd("wss://a:b@a.example/"), "error"},
		"fragment":            {xrd("wss://a.example/#x"), "error"},
		"no host":             {xrd("wss:///ws"), "error"},
		"not a host":          {xrd("wss://a_b$/ws"), "error"},
		"opaque":              {xrd("wss:a.example"), "error"},
		"port":                {xrd("wss://a.example:0/"), "error"},
		"too long":            {xrd("wss://a.example/" + strings.Repeat("x", maxEndpoint)), "error"},
		"empty":               {"", "error"},
	} {
		got, err := parseHostMeta([]byte(c.doc))
		if (err != nil) != (c.want == "error") || err == nil && strings.Join(got, " ") != c.want {
			t.Errorf("%s: %v, %v", name, got, err)
		}
	}
	for name, c := range map[string]struct{ doc, want string }{
		"example":    {exampleJRD, "wss://web.example.com:443/ws"},
		"null":       {"null", ""},
		"other type": {`{"links":{"rel":"x"}}`, "error"},
		"deep":       {strings.Repeat("[", 20000), "error"},
		"cut short":  {exampleJRD[:200], "error"},
		"ws":         {strings.Replace(exampleJRD, "wss", "ws", 1), "error"},
	} {
		got, err := parseHostMetaJSON([]byte(c.doc))
		if (err != nil) != (c.want == "error") || err == nil && strings.Join(got, " ") != c.want {
			t.Errorf("JSON, %s: %v, %v", name, got, err)
		}
	}
}

// FuzzHostMeta: whatever a document says, only wss URLs of hosts come out.
func FuzzHostMeta(f *testing.F) {
	for _, s := range []string{exampleXRD, exampleJRD, xrd("wss://[::1]:1/a?b"), xrd("wss://b\u00fccher.example"), `{"links":[{"rel":"urn:xmpp:alt-connections:websocket","href":"wss://a"}]}`} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, doc []byte) {
		for _, parse := range []func([]byte) ([]string, error){parseHostMeta, parseHostMetaJSON} {
			list, err := parse(doc)
			if err != nil && list != nil || len(list) > maxEndpoints {
				t.Fatalf("%v, %v", list, err)
			}
			for _, s := range list {
				u, err := parseEndpoint(s)
				if err != nil || u.Scheme != "wss" || u.Host == "" || u.User != nil || u.String() != s || slices.Contains([]string{"\r", "\n"}, s) {
					t.Fatalf("%q, %v", s, err)
				}
			}
		}
	})
}
