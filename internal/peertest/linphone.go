package peertest

import (
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"
)

// linphoneCodec is a payload type as Linphone's configuration has it. One
// that is not mentioned there would have its own default.
type linphoneCodec struct {
	Name                    string
	Rate, Channels, Enabled int
}

var linphoneCodecs = []linphoneCodec{
	{"opus", 48000, 2, 0}, {"G722", 8000, 1, 0}, {"PCMU", 8000, 1, 0}, {"PCMA", 8000, 1, 0},
	{"speex", 16000, 1, 0}, {"speex", 8000, 1, 0}, {"speex", 32000, 1, 0}, {"GSM", 8000, 1, 0}, {"G729", 8000, 1, 0},
}

// Linphone is a running linphonec, Linphone without a window, with one account.
type Linphone struct {
	AOR string // its address of record
	Log *Output

	t    testing.TB
	dir  string
	proc *process
	held Mark // where Hold was asked for
}

// linphonePrompt is written before most lines; a color code ends some.
var linphonePrompt = regexp.MustCompile(`^(linphonec> ?)+|\x1b\[[0-9;]*[A-Za-z]`)

// StartLinphone starts a Linphone and returns when it has registered. It ends
// with the test. What it hears in all its calls goes to one file; see Heard.
func StartLinphone(t testing.TB, c PhoneConfig) *Linphone {
	t.Helper()
	Need(t, "linphonec")
	dir := tempDir(t, "linphone")
	for _, sub := range []string{".local/share/linphone", ".linphone-usr-crt"} {
		if err := os.MkdirAll(filepath.Join(dir, sub), 0o700); err != nil {
			t.Fatal(err)
		}
	}
	ports := reserve(t, 12)
	data := struct {
		SIP, TLS, RTP                          int
		User, Password, AOR, Domain, Proxy, CA string
		Encryption                             string
		Mandatory                              int
		Codecs                                 []linphoneCodec
	}{
		SIP: ports.take(1), TLS: ports.take(1), RTP: ports.take(2),
		User: c.User, Password: c.Registrar.Password(c.User), AOR: c.Registrar.AOR(c.User),
		Domain: c.Registrar.Domain, CA: c.Registrar.certs.CA,
	}
	// It compares the certificate with names alone, never with an address.
	_, port, _ := net.SplitHostPort(c.Registrar.Addr(transport(c)))
	data.Proxy = "sip:localhost:" + port + ";transport=" + transport(c)
	switch c.Encryption {
	case "", SDES:
		data.Encryption, data.Mandatory = "srtp", 1
	case SDESOptional:
		data.Encryption = "srtp"
	case DTLS:
		data.Encryption, data.Mandatory = "dtls", 1
	default:
		data.Encryption = "none"
	}
	wanted := c.Codecs
	if len(wanted) == 0 {
		wanted = defaultCodecs
	}
	for _, name := range wanted {
		i := slices.IndexFunc(linphoneCodecs, func(l linphoneCodec) bool { return l.Name == name })
		if i < 0 {
			t.Fatalf("peertest: no codec %q", name)
		}
		codec := linphoneCodecs[i]
		codec.Enabled = 1
		data.Codecs = append(data.Codecs, codec)
	}
	for _, codec := range linphoneCodecs {
		if !slices.Contains(wanted, codec.Name) {
			data.Codecs = append(data.Codecs, codec)
		}
	}
	rc := filepath.Join(dir, "linphonerc")
	render(t, rc, "linphonerc.tmpl", data)

	args := []string{"-c", rc, "-d", "6", "-l", filepath.Join(dir, "linphone.log")}
	if c.AutoAnswer {
		args = append(args, "-a")
	}
	p := &Linphone{AOR: c.Registrar.AOR(c.User), t: t, dir: dir}
	p.proc = start(t, spec{
		program: "linphonec", args: args, dir: dir, stdin: true,
		env:    []string{"HOME=" + dir, "XDG_DATA_HOME=" + filepath.Join(dir, ".local/share"), "XDG_CONFIG_HOME=" + dir},
		filter: func(line string) string { return linphonePrompt.ReplaceAllString(line, "") },
	})
	p.Log = p.proc.out
	// Files instead of a sound card, also for what it hears.
	p.Command("soundcard use files")
	p.Command("record " + p.Heard())
	if c.Source != "" {
		p.Command("play " + c.Source)
	}
	p.waitRegistered()
	return p
}

// waitRegistered asks for the state until it is "registered": it never says so unasked.
func (p *Linphone) waitRegistered() {
	p.t.Helper()
	err := eventually(p.t.Context(), func() error {
		if !p.proc.running() {
			return fmt.Errorf("linphonec ended: %w", p.proc.err)
		}
		mark := p.Log.Mark()
		p.Command("status register")
		if m := p.Log.Wait(p.t, mark, `registered(=-?[0-9])?`); m[1] != "" {
			return errors.New(m[0])
		}
		return nil
	})
	if err != nil {
		p.t.Fatalf("peertest: linphone did not register: %v", err)
	}
}

// Command types a command.
func (p *Linphone) Command(line string) {
	p.t.Helper()
	if _, err := fmt.Fprintln(p.proc.stdin, line); err != nil {
		p.t.Fatalf("peertest: linphonec %s: %v", line, err)
	}
}

// Dial calls a URI.
func (p *Linphone) Dial(uri string) { p.t.Helper(); p.Command("call " + uri) }

// Answer accepts the incoming call.
func (p *Linphone) Answer() { p.t.Helper(); p.Command("answer") }

// Hangup ends all calls.
func (p *Linphone) Hangup() { p.t.Helper(); p.Command("terminate all") }

// HangupCall ends one call; see CallID.
func (p *Linphone) HangupCall(id int) { p.t.Helper(); p.Command(fmt.Sprint("terminate ", id)) }

// CallID waits for the first call after the mark, in either direction, and
// returns the number that Linphone gave it.
func (p *Linphone) CallID(since Mark) int {
	p.t.Helper()
	id, err := strconv.Atoi(p.Log.Wait(p.t, since, `assigned id ([0-9]+)`)[1])
	if err != nil {
		p.t.Fatalf("peertest: linphone: %v", err)
	}
	return id
}

// Hold puts the current call on hold; Resume takes it back.
func (p *Linphone) Hold() {
	p.t.Helper()
	p.held = p.Log.Mark()
	p.Command("pause")
}

// Resume takes back the call of the latest Hold, once that is answered.
func (p *Linphone) Resume() {
	p.t.Helper()
	p.Command("resume " + p.Log.Wait(p.t, p.held, `Call ([0-9]+) with .* is now paused`)[1])
}

// ResumeCall takes a held call back; the current one is held first. See CallID.
func (p *Linphone) ResumeCall(id int) { p.t.Helper(); p.Command(fmt.Sprint("resume ", id)) }

// Transfer refers the peer of a call to a URI (RFC 5589 §6).
func (p *Linphone) Transfer(id int, uri string) {
	p.t.Helper()
	p.Command(fmt.Sprintf("transfer %d %s", id, uri))
}

// TransferTo refers the peer of a call to the peer of another call, whose
// dialog he shall replace (RFC 5589 §7).
func (p *Linphone) TransferTo(id, other int) {
	p.t.Helper()
	p.Command(fmt.Sprintf("transfer %d --to-call %d", id, other))
}

// WaitTransferred waits until the target of a transfer has answered.
func (p *Linphone) WaitTransferred(since Mark, id int) {
	p.t.Helper()
	p.Log.Wait(p.t, since, fmt.Sprintf(`of call %d has been transfered`, id))
}

// Join takes a call into the conference that Linphone mixes.
func (p *Linphone) Join(id int) { p.t.Helper(); p.Command(fmt.Sprint("conference add ", id)) }

// RecordTo writes what it hears from now on to another file, and returns that
// file's name. It is complete after Stop.
func (p *Linphone) RecordTo(name string) string {
	p.t.Helper()
	p.Command("record " + p.File(name))
	return p.File(name)
}

// File returns the name of the file that RecordTo writes.
func (p *Linphone) File(name string) string { return filepath.Join(p.dir, name+".wav") }

// WaitRecorded waits until a file of RecordTo or Heard holds so much sound,
// which must be narrow-band.
func (p *Linphone) WaitRecorded(file string, d time.Duration) {
	p.t.Helper()
	waitRecorded(p.t, func() (string, error) { return file, nil }, d)
}

// SendDigits sends DTMF digits in the current call.
func (p *Linphone) SendDigits(digits string) { p.t.Helper(); p.Command(digits) }

// WaitIncoming waits for an incoming call after the mark.
func (p *Linphone) WaitIncoming(since Mark) {
	p.t.Helper()
	p.Log.Wait(p.t, since, `Receiving new incoming call`)
}

// WaitConnected waits until a call is answered and its media runs.
func (p *Linphone) WaitConnected(since Mark) {
	p.t.Helper()
	p.Log.Wait(p.t, since, `Media streams established`)
}

// WaitPaused waits until a call is on hold by its own wish. It dials no
// second call before that.
func (p *Linphone) WaitPaused(since Mark) {
	p.t.Helper()
	p.Log.Wait(p.t, since, `Call [0-9]+ with .* is now paused`)
}

// WaitHeld waits until the peer of a call has put it on hold.
func (p *Linphone) WaitHeld(since Mark) {
	p.t.Helper()
	p.Log.Wait(p.t, since, `Call [0-9]+ has been paused by`)
}

// WaitEnded waits until a call has ended.
func (p *Linphone) WaitEnded(since Mark) {
	p.t.Helper()
	p.Log.Wait(p.t, since, `Call [0-9]+ with .* ended`)
}

// WaitDigits waits until it has received as many DTMF digits after the mark and returns them.
func (p *Linphone) WaitDigits(since Mark, n int) string {
	p.t.Helper()
	var digits strings.Builder
	for digits.Len() < n {
		m, next := p.Log.wait(p.t, since, `Receiving tone (.) from`)
		digits.WriteString(m[1])
		since = next
	}
	return digits.String()
}

// Stop ends it, as at the end of the test. What it heard is complete after that.
func (p *Linphone) Stop() { p.proc.stop() }

// Heard returns the WAV file of what it heard, in all its calls one after the
// other. Linphone writes it late: it is complete when its call has ended, or after Stop.
func (p *Linphone) Heard() string { return p.File("heard") }
