package main

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"github.com/hoorn-phone/hoorn/media"
	"github.com/hoorn-phone/hoorn/sip"
	"github.com/hoorn-phone/hoorn/sip/offeranswer"
)

const (
	// endLimit bounds each thing that is done on the way out: hanging up,
	// unregistering.
	endLimit = 3 * time.Second

	// registerLimit bounds the first registration.
	registerLimit = 30 * time.Second

	// recordRate is the sample rate of recordings: all that G.722 has, and
	// most that matters of speech in Opus.
	recordRate = 16000
)

// phone is a registered account with its sound.
type phone struct {
	set   *settings
	out   *screen
	sound *sound // nil: silence
	trace *trace
	eng   *media.Engine
	ua    *sip.UA
	reg   *sip.Registration
	keys  <-chan string       // what the user types, nil if nobody does
	voice func() media.Source // what every call says from its beginning; nil: nothing

	mu       sync.Mutex
	recorded int
}

// openPhone registers the account that the settings describe.
func openPhone(ctx context.Context, c *console, set *settings) (*phone, error) {
	mediaConfig, err := set.media()
	if err != nil {
		return nil, err
	}
	cfg, err := set.sip()
	if err != nil {
		return nil, err
	}
	if err := set.checkRecord(); err != nil {
		return nil, err
	}
	snd, err := openSound(set)
	if err != nil {
		return nil, err
	}
	if cfg.Account.Password, err = set.readPassword(ctx, c); err != nil {
		return nil, err
	}
	p := &phone{set: set, out: newScreen(c), sound: snd}
	if p.trace, err = newTrace(c, set); err != nil {
		return nil, err
	}
	p.trace.listenPacket(mediaConfig)
	if c.keys {
		p.keys = readKeys(c.in)
	}
	if err := p.start(ctx, mediaConfig, cfg); err != nil {
		return nil, p.closeAfter(err)
	}
	return p, nil
}

// start makes the engine and the user agent, and registers.
func (p *phone) start(ctx context.Context, mediaConfig *media.Config, cfg *sip.Config) error {
	var err error
	if p.eng, err = media.NewEngine(mediaConfig); err != nil {
		return err
	}
	cfg.NewMedia = p.newMedia
	p.trace.attach(cfg)
	if p.ua, err = sip.New(cfg); err != nil {
		return usagef("%v", err) // all of it came from the user
	}
	return p.register(ctx)
}

func (p *phone) register(ctx context.Context) error {
	p.out.status("registering " + p.ua.AOR() + " …")
	defer p.out.status("")
	ctx, cancel := context.WithTimeout(ctx, registerLimit)
	defer cancel()
	start := time.Now()
	reg, err := p.ua.Register(ctx)
	if err != nil {
		return err
	}
	p.reg = reg
	p.out.line("registered %s in %s: %s", p.ua.AOR(), milliseconds(time.Since(start)), describe(reg.Info()))
	return nil
}

// describe says what the registrar granted.
func describe(i sip.RegistrationInfo) string {
	parts := []string{flowName(i.Flow) + " to " + i.Flow.Remote}
	if !i.Expires.IsZero() {
		parts = append(parts, "for "+time.Until(i.Expires).Round(time.Second).String())
	}
	if i.Outbound {
		parts = append(parts, "outbound")
	}
	if i.PublicGRUU != "" {
		parts = append(parts, "GRUU")
	}
	return strings.Join(parts, ", ")
}

func flowName(f sip.FlowInfo) string {
	if f.TLSVersion == 0 {
		return strings.ToUpper(string(f.Transport))
	}
	name := tls.VersionName(f.TLSVersion)
	if f.Transport == sip.WSS {
		name = "WSS, " + name
	}
	return name + " (" + tls.CipherSuiteName(f.CipherSuite) + ")"
}

// watch prints what happens to the registration, until it ends.
func (p *phone) watch(ctx context.Context) {
	first := true
	for e := range p.reg.Events(ctx) {
		switch e.State {
		case sip.Reconnecting:
			p.out.line("the connection was lost, trying again: %v", e.Err)
		case sip.Registered:
			if !first {
				p.out.line("registered again: %s", describe(p.reg.Info()))
			}
			first = false
		}
	}
}

// closeAfter closes the phone and its capture at the end of a command that has
// come to err.
func (p *phone) closeAfter(err error) error {
	p.close()
	if traceErr := p.trace.close(); err == nil {
		return traceErr
	}
	return err
}

// close unregisters and lets go of everything but the trace. It prints what
// goes wrong on the way.
func (p *phone) close() {
	p.out.status("")
	if p.reg != nil && p.reg.Err() == nil {
		ctx, cancel := context.WithTimeout(context.Background(), endLimit)
		if err := p.reg.Unregister(ctx); err != nil {
			p.out.line("could not unregister %s: %v", p.ua.AOR(), err)
		} else {
			p.out.line("unregistered %s", p.ua.AOR())
		}
		cancel()
	}
	if p.ua != nil {
		p.ua.Close()
	}
	if p.eng != nil {
		p.eng.Close()
	}
}

// newMedia makes the media of a call. The recording begins before the first
// packet can come.
func (p *phone) newMedia(ctx context.Context, env offeranswer.Env) (offeranswer.Media, error) {
	m, err := p.eng.NewSession(ctx, env)
	if err != nil {
		return nil, err
	}
	if p.voice != nil {
		if err := m.(*media.Session).SetSource(p.voice()); err != nil {
			return nil, errors.Join(err, m.Close())
		}
	}
	if p.set.record == "" {
		return m, nil
	}
	path := p.recordPath()
	sink, err := media.CreateWAV(path, recordRate)
	if err == nil {
		err = m.(*media.Session).SetSink(sink)
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("recording to %s: %w", path, err), m.Close())
	}
	return m, nil
}

// recordPath is the file for the next recording: FILE.wav, FILE-2.wav, ….
func (p *phone) recordPath() string {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.recorded++; p.recorded == 1 {
		return p.set.record
	}
	ext := filepath.Ext(p.set.record)
	return fmt.Sprintf("%s-%d%s", strings.TrimSuffix(p.set.record, ext), p.recorded, ext)
}

// checkRecord finds mistakes before anybody is called.
func (s *settings) checkRecord() error {
	if s.record == "" {
		return nil
	}
	dir := filepath.Dir(s.record)
	info, err := os.Stat(dir)
	if err != nil {
		return fmt.Errorf("-record %s: %w", s.record, err)
	}
	if !info.IsDir() {
		return fmt.Errorf("-record %s: %s is no folder", s.record, dir)
	}
	return nil
}
