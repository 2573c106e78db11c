package xmppdial

import (
	"bufio"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// relay copies between two connections until one ends.
func relay(a, b net.Conn) {
	done := make(chan struct{})
	go func() {
		defer close(done)
		_, _ = io.Copy(a, b)
		a.Close()
	}()
	_, _ = io.Copy(b, a)
	b.Close()
	<-done
}

// socksServer is a proxy by RFC 1928 and RFC 1929 that knows the name server.example. It wants a password if there is one.
func (w *world) socksServer(dial DialFunc, password string) func(net.Conn) {
	return func(c net.Conn) {
		b := make([]byte, 512)
		read := func(n int) []byte {
			if _, err := io.ReadFull(c, b[:n]); err != nil {
				clear(b[:n])
			}
			return b[:n]
		}
		methods := string(read(int(read(2)[1])))
		if password != "" {
			if !strings.ContainsRune(methods, 2) {
				_, _ = c.Write([]byte{5, 0xff})
				return
			}
			_, _ = c.Write([]byte{5, 2})
			user := string(read(int(read(2)[1])))
			if user != "romeo" || string(read(int(read(1)[0]))) != password {
				_, _ = c.Write([]byte{1, 1})
				return
			}
			_, _ = c.Write([]byte{1, 0})
		} else {
			_, _ = c.Write([]byte{5, 0})
		}
		var host string
		switch read(4)[3] {
		case 1:
			host = net.IP(read(4)).String()
		case 3:
			host = string(read(int(read(1)[0])))
		case 4:
			host = net.IP(read(16)).String()
		}
		port := binary.BigEndian.Uint16(read(2))
		if host == "server.example" {
			host = "10.0.0.2"
		}
		there, err := dial(w.t.Context(), "tcp", net.JoinHostPort(host, fmt.Sprint(port)))
		if err != nil {
			_, _ = c.Write([]byte{5, 5, 0, 1, 0, 0, 0, 0, 0, 0})
			return
		}
		_, _ = c.Write([]byte{5, 0, 0, 1, 10, 0, 0, 5, 0, 80})
		relay(c, there)
	}
}

// httpProxy answers CONNECT, and puts what early is right behind its answer.
func (w *world) httpProxy(dial DialFunc, auth, early string) func(net.Conn) {
	return func(c net.Conn) {
		req, err := http.ReadRequest(bufio.NewReader(c))
		if err != nil {
			return
		}
		if user, password, ok := (&http.Request{Header: http.Header{"Authorization": req.Header["Proxy-Authorization"]}}).BasicAuth(); auth != "" && (!ok || user+":"+password != auth) {
			_, _ = io.WriteString(c, "HTTP/1.1 407 Proxy Authentication Required\r\nProxy-Authenticate: Basic realm=\"x\"\r\nContent-Length: 0\r\n\r\n")
			return
		}
		there, err := dial(w.t.Context(), "tcp", strings.Replace(req.Host, "server.example", "10.0.0.2", 1))
		if err != nil || req.Method != http.MethodConnect {
			_, _ = io.WriteString(c, "HTTP/1.1 502 Bad Gateway\r\n\r\n")
			return
		}
		_, _ = io.WriteString(c, "HTTP/1.1 200 Connection established\r\n\r\n"+early)
		relay(c, there)
	}
}

func through(t *testing.T, proxy string, dial DialFunc) DialFunc {
	t.Helper()
	return must(Via(must(url.Parse(proxy))(t), dial))(t)
}

// RFC 1928, RFC 1929, RFC 9110 §9.3.6: names go to the proxy, which knows them.
func TestVia(t *testing.T) {
	for _, tt := range []struct {
		proxy, address string
		want           string // in the error; "" for a connection
		status         int
	}{
		{proxy: "socks5://10.0.0.3", address: "server.example:5222"},
		{proxy: "socks5h://10.0.0.3:1080", address: "10.0.0.2:5222"},
		{proxy: "socks5://10.0.0.3", address: "[2001:db8::2]:5222"},
		{proxy: "socks5://10.0.0.3", address: "server.example:1", want: "connection refused"},
		{proxy: "socks5://romeo:secret@10.0.0.3:1081", address: "server.example:5222"},
		{proxy: "socks5://romeo:wrong@10.0.0.3:1081", address: "server.example:5222", want: "authentication failed"},
		{proxy: "socks5://10.0.0.3:1081", address: "server.example:5222", want: "no acceptable authentication"},
		{proxy: "socks5://10.0.0.3:9", address: "server.example:5222", want: "connection refused"},
		{proxy: "http://10.0.0.3", address: "server.example:5222"},
		{proxy: "http://10.0.0.3:80", address: "[2001:db8::2]:5222"},
		{proxy: "http://10.0.0.3", address: "server.example:1", want: "502 Bad Gateway", status: 502},
		{proxy: "http://romeo:secret@10.0.0.3:8080", address: "server.example:5222"},
		{proxy: "http://romeo:wrong@10.0.0.3:8080", address: "server.example:5222", want: "407", status: 407},
		{proxy: "http://10.0.0.3:8080", address: "server.example:5222", want: "407", status: 407},
		// What is no host never reaches a proxy.
		{proxy: "http://10.0.0.3", address: "a\r\nX: y:5222", want: "not a host"},
		{proxy: "http://10.0.0.3", address: "fe80::1%a\r\nb:5222", want: "not a host"},
		{proxy: "http://10.0.0.3", address: "[fe80::1%eth0]:5222", want: "not for a proxy"},
		{proxy: "socks5://10.0.0.3", address: "server.example", want: "not for a proxy"},
	} {
		t.Run(tt.proxy+" "+tt.address, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newWorld(t)
				echo := func(c net.Conn) { _, _ = io.Copy(c, c) }
				w.listen(w.n.Host("10.0.0.2", "2001:db8::2"), "5222", echo)
				h := w.n.Host("10.0.0.3", "2001:db8::3")
				w.listen(h, "1080", w.socksServer(h.Dial, ""))
				w.listen(h, "1081", w.socksServer(h.Dial, "secret"))
				w.listen(h, "80", w.httpProxy(h.Dial, "", ""))
				w.listen(h, "8080", w.httpProxy(h.Dial, "romeo:secret", ""))
				c, err := through(t, tt.proxy, w.dial)(t.Context(), "tcp", tt.address)
				if tt.want != "" {
					var e *ProxyError
					if !errors.As(err, &e) || !strings.Contains(err.Error(), tt.want) || e.Status != tt.status || e.Timeout() {
						t.Errorf("error %v", err)
					}
					if err != nil && (strings.Contains(err.Error(), "secret") || strings.Contains(err.Error(), "wrong")) {
						t.Errorf("the error tells the password: %v", err)
					}
					if w.open() != 0 {
						t.Error("the connection is open")
					}
					return
				}
				if err != nil {
					t.Fatal(err)
				}
				b := make([]byte, 5)
				if _, err := io.WriteString(c, "hello"); err != nil {
					t.Error(err)
				}
				if _, err := io.ReadFull(c, b); err != nil || string(b) != "hello" {
					t.Errorf("%q, %v", b, err)
				}
				c.Close()
			})
		})
	}
}

// What the server says right away may come with the proxy's answer.
func TestViaHTTPEarly(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.serve("10.0.0.2", "5222", func(c net.Conn) { _, _ = io.WriteString(c, "late") })
		h := w.n.Host("10.0.0.3")
		w.listen(h, "80", w.httpProxy(h.Dial, "", "early, "))
		c, err := through(t, "http://10.0.0.3", w.dial)(t.Context(), "tcp", "10.0.0.2:5222")
		if err != nil {
			t.Fatal(err)
		}
		b := make([]byte, 11)
		if _, err := io.ReadFull(c, b); err != nil || string(b) != "early, late" {
			t.Errorf("%q, %v", b, err)
		}
		c.Close()
	})
}

// Proxies that speak something else, too much or nothing.
func TestViaHostile(t *testing.T) {
	for name, answer := range map[string]string{
		"silent": "", "other protocol": "220 mail.example ESMTP\r\n", "long header": "HTTP/1.1 200 OK\r\nX: " + strings.Repeat("x", 1<<20),
		"informational": "HTTP/1.1 100 Continue\r\n\r\n", "zeros": strings.Repeat("\x00", 1000), "SOCKS 4": "\x04\x5a",
	} {
		for _, scheme := range []string{"http", "socks5"} {
			t.Run(scheme+" "+name, func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					w := newWorld(t)
					w.serve("10.0.0.3", "3128", func(c net.Conn) {
						if _, err := io.WriteString(c, answer); err == nil {
							drain(c)
						}
					})
					ctx, cancel := context.WithTimeout(t.Context(), time.Second)
					defer cancel()
					_, err := through(t, scheme+"://10.0.0.3:3128", w.dial)(ctx, "tcp", "10.0.0.2:5222")
					var e *ProxyError
					if !errors.As(err, &e) || e.Timeout() != (time.Since(w.start) == time.Second) || e.Timeout() && !errors.Is(err, context.DeadlineExceeded) {
						t.Errorf("error %v after %v", err, time.Since(w.start))
					}
					if w.open() != 0 {
						t.Error("the connection is open")
					}
				})
			})
		}
	}
}

func TestViaURL(t *testing.T) {
	for _, s := range []string{"ftp://proxy.example", "https://proxy.example", "socks4://proxy.example", "http://", "socks5:proxy", "proxy.example:1080"} {
		u, err := url.Parse(s)
		if err != nil {
			continue
		}
		var e *ProxyError
		if _, err := Via(u, nil); !errors.As(err, &e) {
			t.Errorf("%s: %v", s, err)
		}
	}
	if _, err := through(t, "http://10.0.0.3", nil)(t.Context(), "udp", "10.0.0.2:5222"); err == nil {
		t.Error("UDP is dialled")
	}
}

// A dialer behind a proxy: names unresolved, and a proxy's refusal is an attempt like others.
func TestRaceVia(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.serve("10.0.0.2", "5222", drain)
		h := w.n.Host("10.0.0.3")
		w.listen(h, "1080", w.socksServer(h.Dial, ""))
		d := &Dialer{Dial: through(t, "socks5://10.0.0.3", w.dial)}
		c, target, err := d.Race([]Target{{Host: "server.example", Port: 9}, {Host: "server.example", Port: 5222}}).Next(t.Context())
		if err != nil || target.Port != 5222 || time.Since(w.start) != 0 {
			t.Fatalf("%v, %v", target, err)
		}
		c.Close()
	})
}
