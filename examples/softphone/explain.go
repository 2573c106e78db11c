package main

import (
	"context"
	"errors"
	"flag"
	"net"
	"strings"

	"github.com/hoorn-phone/hoorn/media"
	"github.com/hoorn-phone/hoorn/sip"
)

// exitCode is how the program ends after err.
func exitCode(err error) int {
	var usage *usageError
	var status *sip.StatusError
	var uri *sip.URIError
	switch {
	case err == nil || errors.Is(err, flag.ErrHelp):
		return exitOK
	case errors.As(err, &usage), errors.As(err, &uri):
		return exitUsage
	case errors.Is(err, errInterrupted):
		return exitInterrupted
	case errors.As(err, &status) && status.Method == "INVITE" && status.Code >= 400 && status.Code != 401 && status.Code != 407:
		return exitRefused
	}
	return exitFailed
}

// explain says what went wrong, and what the user can do about it.
func explain(err error) string {
	if hint := hint(err); hint != "" {
		return err.Error() + "\n  " + hint
	}
	return err.Error()
}

func hint(err error) string {
	var certificate *sip.CertificateError
	var auth *sip.AuthError
	var status *sip.StatusError
	var dial *sip.DialError
	var dns *net.DNSError
	switch {
	case errors.As(err, &certificate):
		return certificateHint(certificate)
	case errors.As(err, &auth):
		switch {
		case errors.Is(err, sip.ErrWeakDigest):
			return "The server offers no way to authenticate that this account allows."
		case errors.Is(err, sip.ErrServerUnproved):
			return "The server does not know the password itself: it may be an impostor."
		}
		return "Wrong password? It comes from " + passwordVariable + ", -password-file or the prompt. Some servers want another user name for authentication than that in the account: -user NAME."
	case errors.As(err, &status):
		return statusHint(status)
	case errors.Is(err, sip.ErrNotFound), errors.As(err, &dns):
		return "DNS knows no server for that domain. Give one with -proxy \"sip:host:port;transport=tls\"."
	case errors.As(err, &dial):
		return "Is that the server, and does it speak this transport on this port? -proxy \"sip:host:port;transport=tls\" names another (tls, wss, tcp, udp or ws)."
	case errors.Is(err, media.ErrNotSecure):
		return "The other side does not encrypt its media. -srtp optional or -srtp off would go on in the clear."
	case errors.Is(err, media.ErrSecure):
		return "The other side insists on encrypted media: -srtp required or -srtp optional."
	case errors.Is(err, media.ErrNoCodec):
		return "No codec in common: -codecs names those that are offered."
	case errors.Is(err, context.DeadlineExceeded):
		return "The server did not answer in time."
	}
	return ""
}

func certificateHint(e *sip.CertificateError) string {
	switch e.Reason {
	case sip.CertificateUntrusted:
		return "No authority that is trusted here has signed the server's certificate. If it has an authority of its own, give that one's certificate: -ca FILE."
	case sip.CertificateWrongName:
		return "The certificate is for somebody else than " + e.Domain + ". Hosted servers sometimes need -tls-srv-target or -tls-wildcard; otherwise this is not your server."
	case sip.CertificateExpired, sip.CertificateNotYetValid:
		return "Is the clock of this machine right? If it is, the server needs a new certificate."
	case sip.TLSTooOld:
		return "The server speaks only versions of TLS that are no longer safe (1.2 is the oldest that is accepted)."
	}
	return ""
}

func statusHint(e *sip.StatusError) string {
	if e.Method == "REGISTER" {
		switch e.Code {
		case 403:
			return "The registrar does not want this account: wrong password, wrong -user, or an account that may not register."
		case 404:
			return "The registrar does not know this account: is -account right?"
		case 503:
			return "The server is overloaded or being maintained."
		}
		return ""
	}
	switch e.Code {
	case 301, 302:
		return "They are to be reached at " + strings.Join(e.Contacts, " or ") + "."
	case 404, 484, 604:
		return "There is no such user or number."
	case 480:
		return "They are not there, or did not answer."
	case 486, 600:
		return "They are busy."
	case 488, 606:
		return "No description of media that both accept: see -codecs and -srtp."
	case 603:
		return "They declined."
	}
	return ""
}
