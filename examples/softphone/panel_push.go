package main

import (
	"context"
	"errors"
	"strings"

	"github.com/hoorn-phone/hoorn/sip"
)

var (
	errNoDevice  = errors.New("none of your other devices is registered")
	errNotTalked = errors.New("the call is not answered")
)

// push gives the selected call to another of the user's devices.
func (p *panel) push() {
	l, w := p.selectedLine(), p.watcher
	switch {
	case l == nil:
		p.say("push: %v", errNoCall)
		return
	case l.call.State() != sip.CallEstablished:
		p.say("push: %v", errNotTalked)
		return
	case w == nil:
		p.say("push: %v", errNoWatch)
		return
	}
	p.do("push", func(ctx context.Context) error {
		devices, err := p.ua.Devices(ctx)
		if err != nil {
			return err
		}
		if len(devices) == 0 {
			return errNoDevice
		}
		names := make([]string, len(devices))
		for i, d := range devices {
			names[i] = deviceName(d)
		}
		p.post(func() {
			p.choose("push to", names, func(i int) {
				p.do("push to "+names[i], func(ctx context.Context) error { return w.Push(ctx, l.call, devices[i].URI) })
			})
		})
		return nil
	})
}

// deviceName is where a device is: nothing else is known of it that says
// something to people.
func deviceName(d sip.Device) string {
	_, where, _ := strings.Cut(d.Contact, ":")
	if _, host, ok := strings.Cut(where, "@"); ok {
		where = host
	}
	where, _, _ = strings.Cut(where, ";")
	return where
}
