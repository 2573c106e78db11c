package peertest

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"
)

// PhoneConfig says what kind of phone a test wants, baresip or Linphone.
type PhoneConfig struct {
	// User is its name at the registrar; the account is taken from Registrar.
	User      string
	Registrar *Kamailio
	// Transport to the registrar: "udp", "tcp" or "tls". Empty means "tls".
	Transport string
	// Codecs are the names of SDP of all codecs it offers, the best first:
	// "opus", "G722", "PCMU", "PCMA". None means all of these in this order.
	Codecs []string
	// Encryption of media. Empty means SDES, and no call without it.
	Encryption Encryption
	// Source is the WAV file it speaks into each call (16-bit mono, 48 kHz).
	Source string
	// AutoAnswer makes it answer every call at once.
	AutoAnswer bool
}

// Encryption is how a phone protects media.
type Encryption string

const (
	SDES         Encryption = "sdes"          // SRTP with SDES keys, required: RTP/SAVP
	SDESOptional Encryption = "sdes-optional" // SDES keys offered, plain RTP accepted
	DTLS         Encryption = "dtls"          // DTLS-SRTP, required
	Plain        Encryption = "none"          // plain RTP
)

// defaultCodecs are what PhoneConfig.Codecs means when empty.
var defaultCodecs = []string{"opus", "G722", "PCMU", "PCMA"}

// baresipCodecs are baresip's own names.
var baresipCodecs = map[string]string{"opus": "opus/48000/2", "G722": "G722/16000/1", "PCMU": "PCMU/8000/1", "PCMA": "PCMA/8000/1"}

var baresipEncryption = map[Encryption]string{
	"": "srtp-mand", SDES: "srtp-mand", SDESOptional: "srtp", DTLS: "dtls_srtp",
}

// Baresip is a running baresip with one account.
type Baresip struct {
	AOR string // its address of record
	Log *Output

	t    testing.TB
	dir  string
	proc *process

	conn   net.Conn
	write  sync.Mutex
	events *eventLog
}

// Event is something baresip told on its control connection.
type Event struct {
	Type      string `json:"type"`      // REGISTER_OK, CALL_INCOMING, CALL_ESTABLISHED, CALL_CLOSED, CALL_DTMF_START, ...
	Direction string `json:"direction"` // incoming, outgoing
	Peer      string `json:"peeruri"`
	CallID    string `json:"id"`
	Param     string `json:"param"` // the digit of a CALL_DTMF_START, the reason of a CALL_CLOSED

	Response bool   `json:"response"` // it is the answer to a command instead
	OK       bool   `json:"ok"`
	Data     string `json:"data"`
	Token    string `json:"token"`
}

// baresipStatus is the line of call time and bit rate that it rewrites all the
// time, and color codes.
var baresipStatus = regexp.MustCompile(`\[[0-9:]+\] audio=[^\s]+ \(bit/s\)\s*|\x1b\[[0-9;]*[A-Za-z]|\r`)

// StartBaresip starts a baresip and returns when it has registered. It ends with the test.
func StartBaresip(t testing.TB, c PhoneConfig) *Baresip {
	t.Helper()
	Need(t, "baresip")
	dir := tempDir(t, "baresip")
	for _, sub := range []string{"rec", "state"} {
		if err := os.Mkdir(filepath.Join(dir, sub), 0o700); err != nil {
			t.Fatal(err)
		}
	}
	ports := reserve(t, 40)
	control := ports.take(1)
	data := struct {
		SIP, Control, RTPFirst, RTPLast int
		Dir, Source, Modules            string
		Certs                           certs
	}{
		SIP:     ports.take(2), // TLS is at the port above
		Control: control, RTPFirst: (ports.take(31) + 1) &^ 1, Dir: dir, Source: c.Source,
		Modules: "/usr/lib/baresip/modules", Certs: c.Registrar.certs,
	}
	data.RTPLast = data.RTPFirst + 28
	render(t, filepath.Join(dir, "config"), "baresip.conf.tmpl", data)

	account := []string{
		fmt.Sprintf("<sip:%s@%s;transport=%s>", c.User, c.Registrar.Domain, transport(c)),
		"auth_pass=" + c.Registrar.Password(c.User),
		fmt.Sprintf("outbound=%q", c.Registrar.Proxy(transport(c))),
		"regint=120",
		"audio_codecs=" + strings.Join(codecs(t, c, baresipCodecs), ","),
	}
	if c.Encryption != Plain {
		account = append(account, "mediaenc="+baresipEncryption[c.Encryption])
	}
	if c.AutoAnswer {
		account = append(account, "answermode=auto")
	}
	if err := os.WriteFile(filepath.Join(dir, "accounts"), []byte(strings.Join(account, ";")+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	p := &Baresip{AOR: c.Registrar.AOR(c.User), t: t, dir: dir, events: newEventLog()}
	p.proc = start(t, spec{
		program: "baresip", args: []string{"-f", dir, "-v"}, dir: dir, twice: true,
		env:    []string{"HOME=" + filepath.Join(dir, "state")},
		filter: func(line string) string { return baresipStatus.ReplaceAllString(line, "") },
	})
	p.Log = p.proc.out
	p.dial(loopback(control))
	// It may have registered before it took our control connection, so that
	// the event was told to nobody: the log has it in any case.
	p.Log.Wait(t, 0, `200 OK .*\[[0-9]+ binding`)
	return p
}

// transport returns the transport a phone is configured for.
func transport(c PhoneConfig) string {
	if c.Transport == "" {
		return "tls"
	}
	return c.Transport
}

// codecs translates the codecs a phone is configured for to its own names.
func codecs(t testing.TB, c PhoneConfig, names map[string]string) []string {
	t.Helper()
	list := c.Codecs
	if len(list) == 0 {
		list = defaultCodecs
	}
	var own []string
	for _, name := range list {
		n, ok := names[name]
		if !ok {
			t.Fatalf("peertest: no codec %q", name)
		}
		own = append(own, n)
	}
	return own
}

// dial opens the control connection as soon as it listens.
func (p *Baresip) dial(addr string) {
	p.t.Helper()
	err := eventually(p.t.Context(), func() (err error) {
		p.conn, err = net.Dial("tcp", addr)
		return err
	})
	if err != nil {
		p.t.Fatalf("peertest: baresip control: %v", err)
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		r := bufio.NewReader(p.conn)
		for {
			b, err := readNetstring(r)
			if err != nil {
				p.events.end(err)
				return
			}
			var e Event
			if err := json.Unmarshal(b, &e); err != nil {
				p.events.end(err)
				return
			}
			p.events.add(e)
		}
	}()
	p.t.Cleanup(func() {
		p.conn.Close()
		<-done
	})
}

// Command gives a long command ("dial", "hangup", ...) and returns its answer.
// It fails the test if baresip refuses it.
func (p *Baresip) Command(command, params string) string {
	p.t.Helper()
	since := p.events.mark()
	token := fmt.Sprintf("t%d", since)
	b, err := json.Marshal(map[string]string{"command": command, "params": params, "token": token})
	if err != nil {
		p.t.Fatal(err)
	}
	p.write.Lock()
	err = writeNetstring(p.conn, b)
	p.write.Unlock()
	if err != nil {
		p.t.Fatalf("peertest: baresip %s: %v", command, err)
	}
	e := p.await(since, "answer to "+command, func(e Event) bool { return e.Response && e.Token == token })
	if !e.OK {
		p.t.Fatalf("peertest: baresip %s %s: %s", command, params, e.Data)
	}
	return e.Data
}

// Dial calls a URI.
func (p *Baresip) Dial(uri string) { p.t.Helper(); p.Command("dial", uri) }

// Answer accepts the incoming call.
func (p *Baresip) Answer() { p.t.Helper(); p.Command("accept", "") }

// Hangup ends the current call.
func (p *Baresip) Hangup() { p.t.Helper(); p.Command("hangup", "") }

// Hold puts the current call on hold; Resume takes it back.
func (p *Baresip) Hold() { p.t.Helper(); p.Command("hold", "") }

// Resume takes the held call back.
func (p *Baresip) Resume() { p.t.Helper(); p.Command("resume", "") }

// Line makes one of its calls the current one: 1 is the first.
func (p *Baresip) Line(n int) { p.t.Helper(); p.Command("line", strconv.Itoa(n)) }

// Transfer refers the peer of the current call to a URI (RFC 5589 §6). It
// hangs up when the target has answered: CALL_CLOSED with TransferDone.
func (p *Baresip) Transfer(uri string) { p.t.Helper(); p.Command("transfer", uri) }

// TransferDone is the Param of CALL_CLOSED after a transfer that succeeded.
const TransferDone = "Call transfered"

// SendDigits sends DTMF digits in the current call (RFC 4733).
func (p *Baresip) SendDigits(digits string) {
	p.t.Helper()
	for _, d := range digits {
		p.Command("sndcode", string(d))
	}
}

// Mark is the present place in the stream of events, for WaitEvent.
func (p *Baresip) Mark() Mark { return p.events.mark() }

// WaitEvent waits for an event of a type after the mark.
func (p *Baresip) WaitEvent(since Mark, typ string) Event {
	p.t.Helper()
	return p.await(since, typ, func(e Event) bool { return e.Type == typ })
}

// WaitDigits waits until it has received as many DTMF digits after the mark and returns them.
func (p *Baresip) WaitDigits(since Mark, n int) string {
	p.t.Helper()
	var digits string
	p.await(since, fmt.Sprintf("%d digits", n), func(e Event) bool {
		if e.Type == "CALL_DTMF_START" {
			digits += e.Param
		}
		return len(digits) >= n
	})
	return digits
}

func (p *Baresip) await(since Mark, what string, match func(Event) bool) Event {
	p.t.Helper()
	ctx, cancel := context.WithTimeout(p.t.Context(), patience)
	defer cancel()
	e, err := p.events.await(ctx, since, match)
	if err != nil {
		p.t.Fatalf("peertest: baresip: no %s: %v", what, err)
	}
	return e
}

// Heard returns the WAV files of what it heard in the order of their
// beginning, one for each call so far. A file is complete when its call has
// ended. It ends early if the call is put on hold, by either side.
func (p *Baresip) Heard() []string {
	p.t.Helper()
	// Their names hold the time, so that Glob's order is the right one.
	files, err := filepath.Glob(filepath.Join(p.dir, "rec", "dump-*-dec.wav"))
	if err != nil {
		p.t.Fatalf("peertest: %v", err)
	}
	return files
}

// Codec returns the codec it sends with in its latest call, as "opus/48000/2".
func (p *Baresip) Codec() string {
	p.t.Helper()
	var codec string
	for _, line := range p.Log.Since(0) {
		if m := baresipEncoder.FindStringSubmatch(line); m != nil {
			codec = m[1] + "/" + m[2] + "/" + m[3]
		}
	}
	return codec
}

var baresipEncoder = regexp.MustCompile(`Set audio encoder: (\S+) ([0-9]+)Hz ([0-9]+)ch`)

// WaitHeard waits until it has recorded so much in its latest call.
func (p *Baresip) WaitHeard(d time.Duration) {
	p.t.Helper()
	waitRecorded(p.t, func() (string, error) {
		files := p.Heard()
		if len(files) == 0 {
			return "", errors.New("baresip has recorded nothing")
		}
		return files[len(files)-1], nil
	}, d)
}

// Stop ends it, as at the end of the test: it hangs up and unregisters.
func (p *Baresip) Stop() { p.proc.stop() }

// eventLog holds the events of a control connection.
type eventLog struct {
	mu      sync.Mutex
	list    []Event
	err     error
	changed chan struct{}
}

func newEventLog() *eventLog { return &eventLog{changed: make(chan struct{})} }

func (l *eventLog) add(e Event) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.list = append(l.list, e)
	l.wake()
}

func (l *eventLog) end(err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.err = errors.Join(l.err, err)
	l.wake()
}

func (l *eventLog) wake() {
	close(l.changed)
	l.changed = make(chan struct{})
}

func (l *eventLog) mark() Mark {
	l.mu.Lock()
	defer l.mu.Unlock()
	return Mark(len(l.list))
}

func (l *eventLog) await(ctx context.Context, since Mark, match func(Event) bool) (Event, error) {
	next := int(since)
	for {
		l.mu.Lock()
		for ; next < len(l.list); next++ {
			if e := l.list[next]; match(e) {
				l.mu.Unlock()
				return e, nil
			}
		}
		err, changed := l.err, l.changed
		l.mu.Unlock()
		if err != nil {
			return Event{}, err
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return Event{}, ctx.Err()
		}
	}
}
