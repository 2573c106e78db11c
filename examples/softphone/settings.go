package main

import (
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/hoorn-phone/hoorn/media"
	"github.com/hoorn-phone/hoorn/media/codec"
	"github.com/hoorn-phone/hoorn/media/g711"
	"github.com/hoorn-phone/hoorn/media/g722"
	"github.com/hoorn-phone/hoorn/media/opus"
	"github.com/hoorn-phone/hoorn/sip"
)

// settings are what the flags and the configuration file say.
type settings struct {
	config string

	// Who we are and where.
	account, user, name         string
	proxy, registrar, transport string
	passwordFile, ca            string
	wildcard, srvTarget         bool
	expires                     time.Duration

	// Sound.
	codecs, srtp string
	play, record string
	loop         bool

	// What is shown and kept.
	verbose bool
	pcap    string

	limit time.Duration // -for

	dtmf       string // call
	autoAnswer bool   // listen
	calls      int    // listen
	pullCode   string // phone
	conference string // phone
	seconds    int    // demo
	dir        string // demo
}

// The groups of flags. A command has some of them.
func (s *settings) accountFlags(fs *flag.FlagSet) {
	fs.StringVar(&s.config, "config", "", "read settings from `FILE`; by default "+displayPath(defaultConfig())+" if there is one")
	fs.StringVar(&s.account, "account", "", "the address of record, such as `sip:alice@example.com`")
	fs.StringVar(&s.user, "user", "", "the `NAME` for authentication, if not that in the account")
	fs.StringVar(&s.name, "name", "", "the `NAME` that others see")
	fs.StringVar(&s.passwordFile, "password-file", "", "the password is the first line of `FILE`, which only you may read")
	fs.StringVar(&s.proxy, "proxy", "", "the server to connect to, such as `sip:edge.example.com:5061;transport=tls`; by default DNS tells")
	fs.StringVar(&s.registrar, "registrar", "", "the `DOMAIN` to register at, if not that of the account")
	fs.StringVar(&s.transport, "transport", "", "`tls`, wss, tcp, udp or ws where nothing else says; by default tls")
	fs.StringVar(&s.ca, "ca", "", "trust the authorities in this PEM `FILE` and no others")
	fs.BoolVar(&s.wildcard, "tls-wildcard", false, "accept certificates for *.example.com (RFC 5922 forbids them)")
	fs.BoolVar(&s.srvTarget, "tls-srv-target", false, "accept certificates for the host that DNS names (whoever controls DNS can then take the place of the server)")
	fs.DurationVar(&s.expires, "expires", time.Hour, "the `LIFETIME` of the registration to ask for")
	s.traceFlags(fs)
}

func (s *settings) traceFlags(fs *flag.FlagSet) {
	fs.BoolVar(&s.verbose, "v", false, "show SIP messages on standard error, keys left out")
	fs.StringVar(&s.pcap, "pcap", "", "write what goes over the wire to `FILE`: SIP decrypted, RTP as it is; keys are in it")
}

func (s *settings) soundFlags(fs *flag.FlagSet) {
	fs.StringVar(&s.codecs, "codecs", "opus,g722,pcmu,pcma", "codecs in order of `PREFERENCE`")
	fs.StringVar(&s.srtp, "srtp", "auto", "`POLICY` for media: required, optional, off, or auto: required if the signalling is encrypted, else off")
	fs.StringVar(&s.play, "play", "", "say what is in this WAV `FILE`; by default silence")
	fs.BoolVar(&s.loop, "loop", false, "begin the file of -play again at its end")
	fs.StringVar(&s.record, "record", "", "write what is heard to this WAV `FILE`; of a second call to FILE-2")
}

func (s *settings) limitFlag(fs *flag.FlagSet, what string) {
	fs.DurationVar(&s.limit, "for", 0, what+" after this `TIME`, such as 10s")
}

func (s *settings) callFlags(fs *flag.FlagSet) {
	fs.StringVar(&s.dtmf, "dtmf", "", "press these `KEYS` (0-9 * # A-D, a comma waits two seconds) when the call is answered")
}

func (s *settings) listenFlags(fs *flag.FlagSet) {
	fs.BoolVar(&s.autoAnswer, "auto-answer", false, "answer calls without being told to")
	fs.IntVar(&s.calls, "calls", 0, "leave after `N` calls")
}

func (s *settings) panelFlags(fs *flag.FlagSet) {
	fs.StringVar(&s.pullCode, "pull-code", "", "the access `CODE` that pulls a call; by default *11")
	fs.StringVar(&s.conference, "conference", "", "merge calls at the conference factory with this `URI`, user or number; by default they are merged here")
}

func (s *settings) demoFlags(fs *flag.FlagSet) {
	fs.IntVar(&s.seconds, "seconds", 10, "how many `SECONDS` of speech each of the two hears, 3 to 600")
	fs.StringVar(&s.dir, "dir", "", "put recordings, ladder and capture into this `FOLDER`; by default a new temporary one")
	fs.BoolVar(&s.verbose, "v", false, "show SIP messages on standard error, keys left out")
	fs.StringVar(&s.pcap, "pcap", "", "write the capture to `FILE` instead of the folder")
}

// allFlags has every flag of the commands that take an account: what may stand
// in the configuration file.
func allFlags() *flag.FlagSet {
	var s settings
	fs := flag.NewFlagSet("", flag.ContinueOnError)
	s.accountFlags(fs)
	s.soundFlags(fs)
	s.limitFlag(fs, "")
	s.callFlags(fs)
	s.listenFlags(fs)
	s.panelFlags(fs)
	return fs
}

// parse reads the arguments of a command, flags and others in any order, and
// then what the configuration file adds. The number of other arguments must be
// want.
func (s *settings) parse(c *console, cmd *command, define func(fs *flag.FlagSet), args []string, want int) ([]string, error) {
	fs := flag.NewFlagSet(cmd.name, flag.ContinueOnError)
	fs.SetOutput(io.Discard)
	define(fs)
	var rest []string
	for {
		if err := fs.Parse(args); errors.Is(err, flag.ErrHelp) {
			fmt.Fprintf(c.out, "softphone %s: %s\n\n", strings.TrimSpace(cmd.name+" "+cmd.args), cmd.brief)
			fs.SetOutput(c.out)
			fs.PrintDefaults()
			return nil, err
		} else if err != nil {
			return nil, usagef("%v", err)
		}
		if fs.NArg() == 0 {
			break
		}
		if n := len(args) - fs.NArg(); n > 0 && args[n-1] == "--" {
			rest = append(rest, fs.Args()...) // what follows is no flag
			break
		}
		rest, args = append(rest, fs.Arg(0)), fs.Args()[1:]
	}
	switch {
	case len(rest) < want:
		return nil, usagef("say what to %s: softphone %s %s", cmd.name, cmd.name, cmd.args)
	case len(rest) > want:
		return nil, usagef("unexpected argument %q", rest[want])
	}
	if fs.Lookup("config") != nil {
		if err := s.readConfig(fs); err != nil {
			return nil, err
		}
	}
	return rest, nil
}

// policies are the values of -srtp.
var policies = map[string]media.SRTPPolicy{
	"auto": media.SRTPAuto, "required": media.SRTPRequired, "optional": media.SRTPOptional, "off": media.SRTPOff,
}

// codecs are the values of -codecs.
var codecs = map[string]func() codec.Codec{
	"opus": opus.Opus,
	"g722": g722.G722,
	"pcmu": g711.PCMU,
	"pcma": g711.PCMA,
}

// media makes the configuration of the engine.
func (s *settings) media() (*media.Config, error) {
	policy, ok := policies[s.srtp]
	if !ok {
		return nil, usagef("-srtp %s: it can be required, optional, off or auto", s.srtp)
	}
	cfg := &media.Config{SRTP: policy}
	var seen []string
	for name := range strings.SplitSeq(s.codecs, ",") {
		name = strings.ToLower(strings.TrimSpace(name))
		make, ok := codecs[name]
		if !ok {
			return nil, usagef("-codecs: there is no %q; there are opus, g722, pcmu and pcma", name)
		}
		if slices.Contains(seen, name) {
			return nil, usagef("-codecs: %s twice", name)
		}
		seen = append(seen, name)
		cfg.Codecs = append(cfg.Codecs, make())
	}
	return cfg, nil
}

// sip makes the configuration of the user agent; the password is asked for
// last, when all the rest is known to be right.
func (s *settings) sip() (*sip.Config, error) {
	if s.account == "" {
		return nil, usagef("say who you are, with -account sip:you@example.com or a line \"account = sip:you@example.com\" in %s", displayPath(defaultConfig()))
	}
	account := s.account
	if !strings.Contains(account, ":") {
		account = "sip:" + account
	}
	if s.expires <= 0 {
		return nil, usagef("-expires %v: not a lifetime", s.expires)
	}
	if s.limit < 0 {
		return nil, usagef("-for %v: not a time", s.limit)
	}
	if s.calls < 0 {
		return nil, usagef("-calls %d: not a number of calls", s.calls)
	}
	roots, err := readRoots(s.ca)
	if err != nil {
		return nil, err
	}
	return &sip.Config{
		Account: sip.Account{
			AOR: account, DisplayName: s.name, Username: s.user,
			Registrar: s.registrar, Proxy: s.proxy, Transport: sip.Transport(strings.ToLower(s.transport)),
			Expires: s.expires,
		},
		TLS:       &sip.TLSConfig{RootCAs: roots, Wildcard: s.wildcard, SRVTarget: s.srvTarget},
		UserAgent: "hoorn-softphone",
	}, nil
}

// displayPath shows a path as people write it.
func displayPath(path string) string {
	if home, err := os.UserHomeDir(); err == nil && home != "" && home != "/" {
		if rest, ok := strings.CutPrefix(path, home+string(os.PathSeparator)); ok {
			return "~" + string(os.PathSeparator) + rest
		}
	}
	return path
}
