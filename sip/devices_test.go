package sip

import (
	"errors"
	"fmt"
	"slices"
	"testing"

	"github.com/hoorn-phone/hoorn/internal/sipwire"
)

// RFC 3261 §10.2.3: a REGISTER without a Contact asks for the bindings.
func TestDevices_RFC3261_10_2_3(t *testing.T) {
	type outcome struct {
		devices []Device
		err     error
	}
	asked := func(s *stage) (received, <-chan outcome) {
		ch := make(chan outcome, 1)
		go func() {
			devices, err := s.ua.Devices(s.t.Context())
			ch <- outcome{devices, err}
		}()
		return s.request("REGISTER"), ch
	}
	onStage(t, "the others, each once", nil, func(t *testing.T, s *stage) {
		req, done := asked(s)
		if got := sipwire.FormatURI(&req.req.Recipient); got != "sip:example.com" || sipwire.Header(req.req, "To") != "<sip:alice@example.com>" ||
			sipwire.Header(req.req, "Contact") != "" || sipwire.Header(req.req, "Expires") != "" || sipwire.Header(req.req, "Route") != "" || !sipwire.HasToken(req.req, "Supported", "gruu") {
			t.Errorf("%v", req.req)
		}
		const desk = `+sip.instance="<urn:uuid:desk>";pub-gruu="sip:alice@example.com;gr=urn:uuid:desk";expires=60`
		req.reply(200,
			fmt.Sprintf("Contact: <sip:alice@10.0.0.1>;+sip.instance=\"<%s>\";expires=3600", s.ua.Instance()),
			"Contact: <sip:alice@10.0.0.7>;reg-id=1;"+desk, "Contact: <sip:alice@10.0.0.7:5070>;reg-id=2;"+desk,
			"Contact: <sip:alice@10.0.0.8>;expires=60", "Contact: <sip:alice@10.0.0.9>;+sip.instance=\"<urn:uuid:old>\"")
		got := <-done
		want := []Device{
			{URI: "sip:alice@example.com;gr=urn:uuid:desk", Instance: "urn:uuid:desk", Contact: "sip:alice@10.0.0.7"},
			{URI: "sip:alice@10.0.0.8", Contact: "sip:alice@10.0.0.8"},
			{URI: "sip:alice@10.0.0.9", Instance: "urn:uuid:old", Contact: "sip:alice@10.0.0.9"},
		}
		if got.err != nil || !slices.Equal(got.devices, want) {
			t.Errorf("%v %+v, want %+v", got.err, got.devices, want)
		}
	})
	onStage(t, "none, too many, refused", nil, func(t *testing.T, s *stage) {
		req, done := asked(s)
		req.reply(200)
		if got := <-done; got.err != nil || got.devices != nil {
			t.Errorf("%+v", got)
		}
		var lines []string
		for i := range 2 * maxDevices {
			lines = append(lines, fmt.Sprintf("Contact: <sip:a@10.0.1.%d>", i))
		}
		req, done = asked(s)
		req.reply(200, lines...)
		if got := <-done; got.err != nil || len(got.devices) != maxDevices {
			t.Errorf("%v, %d devices", got.err, len(got.devices))
		}
		req, done = asked(s)
		req.reply(403)
		var status *StatusError
		if got := <-done; !errors.As(got.err, &status) || status.Code != 403 {
			t.Errorf("%+v", got)
		}
	})
}
