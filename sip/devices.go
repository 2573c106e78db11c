package sip

import (
	"context"
	"slices"
	"strings"
	"time"

	sipgo "github.com/emiago/sipgo/sip"

	"github.com/hoorn-phone/hoorn/internal/sipwire"
)

// HasDialog tells whether one of this user agent's calls lives in a dialog,
// given as the account's side sees it. A Call-ID alone will do where the tags
// are not known. False after Close.
func (ua *UA) HasDialog(d Dialog) bool {
	has := false
	_ = ua.ep.Run(context.Background(), func(time.Time) {
		for key := range ua.calls {
			if key.id == d.CallID && (d.LocalTag == "" || d.LocalTag == key.tag) {
				has = true
				return
			}
		}
	})
	return has
}

// IsThisDevice tells whether a URI leads to this user agent rather than to
// another device of the account: it is one of its GRUUs (RFC 5627), names its
// instance, or is the Contact of one of its connections. False after Close.
func (ua *UA) IsThisDevice(uri string) bool {
	u, err := sipwire.ParseURI(uri)
	if err != nil {
		return false
	}
	if gr, ok := u.UriParams.Get("gr"); ok && strings.EqualFold(gr, ua.acct.instance) {
		return true
	}
	is := false
	_ = ua.ep.Run(context.Background(), func(now time.Time) {
		for _, f := range ua.flows {
			if f.reg != nil {
				if b, ok := f.reg.Binding(now); ok && (b.PubGRUU != nil && sipwire.SameURI(&u, b.PubGRUU) || b.TempGRUU != nil && sipwire.SameURI(&u, b.TempGRUU)) {
					is = true
				}
			}
			if f.flow != nil {
				c := ua.contactURI(f.flow)
				is = is || u.Host == c.Host && u.Port == c.Port
			}
		}
	})
	return is
}

// Device is a device of the account's, as its registrar knows it.
type Device struct {
	// URI leads to this device alone: its public GRUU (RFC 5627), or where the
	// registrar gives none its Contact, which not every server lets through.
	URI string
	// Instance is the URN of the device (RFC 5626 §4.1); "" where it tells none.
	Instance string
	// Contact is where the device is now.
	Contact string
}

// maxDevices bounds the answer to Devices.
const maxDevices = 64

// Devices asks the registrar which other devices of the account are registered
// (RFC 3261 §10.2.3), and leaves this one out. They are in the order in which the
// registrar names them; one with several flows (RFC 5626) is named once, and
// those beyond the 64th are left out.
//
// Errors are those of [UA.Options]; ErrDirect without a registrar.
func (ua *UA) Devices(ctx context.Context) ([]Device, error) {
	if ua.acct.direct {
		return nil, ErrDirect
	}
	r, err := ua.ask(ctx, func() *sipgo.Request {
		req := ua.request(sipgo.REGISTER, ua.acct.registrar)
		for req.RemoveHeader("Route") { // the service route is not for REGISTER (RFC 3608 §5)
		}
		req.ReplaceHeader(&sipgo.ToHeader{Address: *ua.acct.aor.Clone()})
		req.AppendHeader(sipgo.NewHeader("Supported", "gruu")) // else none are named (RFC 5627 §5.2)
		return req
	})
	if err != nil {
		return nil, err
	}
	var devices []Device
	for _, c := range sipwire.Contacts(r) {
		if c.Address.Wildcard || len(devices) == maxDevices {
			continue
		}
		d := Device{Contact: sipwire.FormatURI(&c.Address)}
		d.URI = d.Contact
		if gruu, _ := sipwire.Param(c.Params, "pub-gruu"); gruu != "" {
			d.URI = gruu
		}
		instance, _ := sipwire.Param(c.Params, "+sip.instance")
		d.Instance = strings.Trim(instance, "<>")
		again := slices.ContainsFunc(devices, func(o Device) bool { return d.Instance != "" && o.Instance == d.Instance })
		if !again && !strings.EqualFold(d.Instance, ua.acct.instance) && !ua.IsThisDevice(d.URI) {
			devices = append(devices, d)
		}
	}
	return devices, nil
}
