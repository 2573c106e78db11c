//go:build unix

package main

import (
	"context"
	"crypto/rand"
	"crypto/tls"
	"errors"
	"flag"
	"fmt"
	"io"
	"net/netip"
	"time"

	sipgo "github.com/emiago/sipgo/sip"

	"github.com/hoorn-phone/hoorn/internal/digest"
	"github.com/hoorn-phone/hoorn/internal/endpoint"
	"github.com/hoorn-phone/hoorn/internal/sipwire"
	"github.com/hoorn-phone/hoorn/internal/testca"
	"github.com/hoorn-phone/hoorn/internal/transaction"
	"github.com/hoorn-phone/hoorn/internal/transport"
)

const (
	registrarRole = "registrar"
	domain        = "load.test"
	password      = "0pen sesame"
)

// registrar grants bindings over TLS to everybody with the password, with
// all that a modern server gives: SHA-256, outbound, GRUU.
type registrar struct {
	ep   *endpoint.Endpoint
	auth *digest.Server
}

// serveRegistrar is a child process.
func serveRegistrar(ctx context.Context, args []string, out io.Writer) error {
	fs := flag.NewFlagSet(registrarRole, flag.ContinueOnError)
	if err := fs.Parse(args); err != nil {
		return err
	}
	ca, err := testca.NewCA(time.Now())
	if err != nil {
		return err
	}
	cert, err := ca.Issue(testca.Template{DNS: []string{domain}})
	if err != nil {
		return err
	}
	r := &registrar{auth: digest.NewServer(digest.ServerConfig{
		Realm: domain, Algorithms: []digest.Algorithm{digest.SHA256, digest.MD5}, QOP: digest.QOPAuth,
		Lookup: func(user string, _ digest.Algorithm) (digest.Credential, error) {
			return digest.Credential{Username: user, Password: password}, nil
		},
		Rand: rand.Reader,
	})}
	r.ep, err = endpoint.New(endpoint.Config{
		Transport: transport.Config{TLS: &tls.Config{Certificates: []tls.Certificate{cert}, MinVersion: tls.VersionTLS12}},
		Handler:   r,
	})
	if err != nil {
		return err
	}
	defer r.ep.Close()
	addr, err := r.ep.Net.Listen(ctx, transport.TLS, "127.0.0.1:0")
	if err != nil {
		return err
	}
	if err := ready(out, hello{Addr: addr.String(), CA: ca.PEM()}); err != nil {
		return err
	}
	<-ctx.Done()
	return nil
}

func (r *registrar) Request(now time.Time, s *transaction.Server) {
	req := s.Request()
	if req.Method != sipgo.REGISTER {
		r.ep.Respond(now, s, sipgo.StatusMethodNotAllowed, "", r.ep.Tag(), sipgo.NewHeader("Allow", "REGISTER"))
		return
	}
	var values []string
	for _, h := range req.GetHeaders("Authorization") {
		values = append(values, h.Value())
	}
	_, err := r.auth.Verify(now, digest.Request{
		Method: string(req.Method), URI: sipwire.FormatURI(&req.Recipient), Body: req.Body(), Values: values,
	})
	if err != nil {
		r.challenge(now, s)
		return
	}
	headers := []sipgo.Header{
		sipgo.NewHeader("Require", "outbound"),
		sipgo.NewHeader("Supported", "path, outbound, gruu"),
		sipgo.NewHeader("Date", now.UTC().Format("Mon, 02 Jan 2006 15:04:05 GMT")),
	}
	expires, ok := sipwire.Seconds(req, "Expires")
	if !ok {
		expires = time.Hour
	}
	for _, c := range sipwire.Contacts(req) {
		if expires == 0 {
			break
		}
		instance, _ := sipwire.Param(c.Params, "+sip.instance")
		c.Params = append(c.Params,
			sipgo.HeaderKV{K: "expires", V: fmt.Sprint(int(expires.Seconds()))},
			sipgo.HeaderKV{K: "pub-gruu", V: fmt.Sprintf("%q", "sip:"+c.Address.User+"@"+domain+";gr="+trimAngles(instance))})
		headers = append(headers, c)
	}
	r.ep.Respond(now, s, sipgo.StatusOK, "", r.ep.Tag(), headers...)
}

func trimAngles(s string) string {
	if len(s) > 2 && s[0] == '<' && s[len(s)-1] == '>' {
		return s[1 : len(s)-1]
	}
	return s
}

func (r *registrar) challenge(now time.Time, s *transaction.Server) {
	values, err := r.auth.Challenges(now, false)
	if err != nil {
		r.ep.Respond(now, s, sipgo.StatusInternalServerError, "", r.ep.Tag())
		return
	}
	var headers []sipgo.Header
	for _, v := range values {
		headers = append(headers, sipgo.NewHeader("WWW-Authenticate", v))
	}
	r.ep.Respond(now, s, sipgo.StatusUnauthorized, "", r.ep.Tag(), headers...)
}

var errServer = errors.New("a registrar sends no requests")

func (*registrar) Ack(time.Time, *transport.Flow, *sipgo.Request)    {}
func (*registrar) Stray(time.Time, *transport.Flow, *sipgo.Response) {}
func (*registrar) Route(now time.Time, _ *endpoint.Outgoing, ready func(time.Time, *transport.Flow, error)) {
	ready(now, nil, errServer)
}
func (*registrar) Widen(now time.Time, _ *transport.Flow, ready func(time.Time, *transport.Flow, error)) {
	ready(now, nil, errServer)
}
func (*registrar) FlowClosed(time.Time, *transport.Flow, error)                     {}
func (*registrar) Pong(time.Time, *transport.Flow)                                  {}
func (*registrar) STUN(time.Time, *transport.Flow, [12]byte, netip.AddrPort, error) {}
