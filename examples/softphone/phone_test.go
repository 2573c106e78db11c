package main

import (
	"bytes"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/hoorn-phone/hoorn/sip"
)

func TestRegister(t *testing.T) {
	lab, ca := newLab(t)
	p := begin(t, append([]string{"register"}, flags(lab, ca, "alice")...)...)
	p.out.await(t, "registered sip:alice@pbx.example")
	p.out.await(t, "TLS 1.3")
	if n := len(lab.Devices("alice")); n != 1 {
		t.Errorf("%d devices registered", n)
	}
	p.stop(errInterrupted)
	if code := p.wait(t); code != exitOK || !strings.Contains(p.out.String(), "unregistered sip:alice@pbx.example") {
		t.Errorf("exit %d\n%s%s", code, p.out, p.err)
	}
	if n := len(lab.Devices("alice")); n != 0 {
		t.Errorf("%d devices left registered", n)
	}
}

// TestConnectionLost: it is told, and no reason to leave.
func TestConnectionLost(t *testing.T) {
	lab, ca := newLab(t)
	p := begin(t, append([]string{"register"}, flags(lab, ca, "alice")...)...)
	p.out.await(t, "registered sip:alice@pbx.example")
	lab.Disconnect("alice")
	p.out.await(t, "the connection was lost, trying again: EOF")
	p.stop(errInterrupted)
	if code := p.wait(t); code != exitOK {
		t.Errorf("exit %d\n%s%s", code, p.out, p.err)
	}
}

// TestRegisterFor leaves by itself, and has all of its settings from files.
func TestRegisterFor(t *testing.T) {
	lab, ca := newLab(t)
	secret := write(t, "password", password+"\n", 0o600)
	config := write(t, "softphone.conf", fmt.Sprintf("account = sip:alice@%s\nproxy = %s\nca = %s\npassword-file = %s\nfor = 10ms\n",
		lab.Domain(), lab.Proxy(sip.TLS), ca, secret), 0o600)
	capture := filepath.Join(t.TempDir(), "register.pcap")
	code, out, errs := start(t, "register", "-config", config, "-pcap", capture)
	if code != exitOK || !strings.Contains(out, "unregistered") {
		t.Fatalf("exit %d\n%s%s", code, out, errs)
	}
	file, err := os.ReadFile(capture)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Contains(file, []byte("REGISTER sip:pbx.example SIP/2.0\r\n")) || !bytes.Contains(file, []byte("SIP/2.0 200 OK\r\n")) {
		t.Error("the capture has no REGISTER and its answer")
	}
	if bytes.Contains(file, []byte(password)) {
		t.Error("the password is in the capture")
	}
}

// TestRegisterTransports registers over each, as the proxy's URI says.
func TestRegisterTransports(t *testing.T) {
	lab, ca := newLab(t)
	for transport, want := range map[sip.Transport]string{sip.TLS: "TLS 1.3", sip.TCP: "TCP to", sip.UDP: "UDP to"} {
		code, out, errs := start(t, "register", "-account", "alice@"+lab.Domain(), "-proxy", lab.Proxy(transport), "-ca", ca, "-for", "10ms")
		if code != exitOK || !strings.Contains(out, want) {
			t.Errorf("%s: exit %d\n%s%s", transport, code, out, errs)
		}
	}
}

// TestExplained has what goes wrong with a server: exit code 1 and what to do about it.
func TestExplained(t *testing.T) {
	lab, ca := newLab(t)
	_, other := newLab(t) // another authority
	wrong := write(t, "password", "wrong", 0o600)
	nobody := netip.AddrPortFrom(netip.MustParseAddr("127.0.0.1"), 1)
	for _, c := range []struct {
		name string
		args []string
		want string
	}{
		{"wrong password", flags(lab, ca, "alice", "-password-file", wrong), "Wrong password?"},
		{"unknown authority", flags(lab, other, "alice"), "-ca FILE"},
		{"system's authorities", []string{"-account", "sip:alice@" + lab.Domain(), "-proxy", lab.Proxy(sip.TLS)}, "-ca FILE"},
		{"another domain", []string{"-account", "sip:alice@bank.example", "-proxy", lab.Proxy(sip.TLS), "-ca", ca}, "not your server"},
		{"nobody there", []string{"-account", "sip:alice@" + lab.Domain(), "-proxy", "sip:" + nobody.String() + ";transport=tcp"}, "-proxy"},
	} {
		t.Run(c.name, func(t *testing.T) {
			code, out, errs := start(t, append([]string{"register"}, c.args...)...)
			if code != exitFailed || !strings.Contains(errs, c.want) {
				t.Errorf("exit %d, want %q:\n%s%s", code, c.want, out, errs)
			}
			if strings.Contains(out+errs, password) {
				t.Error("the password is shown")
			}
		})
	}
}

// TestCallEcho plays a tone to the lab's echo and listens to what comes back.
func TestCallEcho(t *testing.T) {
	t.Parallel()
	lab, ca := newLab(t)
	tone := writeTone(t, 2*time.Second)
	heard := filepath.Join(t.TempDir(), "heard.wav")
	for _, codec := range []string{"opus", "pcma"} {
		p := begin(t, append([]string{"call", "echo", "-play", tone, "-record", heard, "-codecs", codec}, flags(lab, ca, "alice")...)...)
		p.out.await(t, tone+" is played")
		p.typ(t, "h")
		if code := p.wait(t); code != exitOK {
			t.Fatalf("exit %d\n%s%s", code, p.out, p.err)
		}
		out := p.out.String()
		for _, want := range []string{"calling sip:echo@pbx.example", "answered after", codec, "AEAD_AES_128_GCM", "hung up after 0:0", "unregistered"} {
			if !strings.Contains(strings.ToLower(out), strings.ToLower(want)) {
				t.Errorf("no %q in\n%s", want, out)
			}
		}
		if d := heardTone(t, heard); d < enough {
			t.Errorf("%s: %v of the tone came back", codec, d)
		}
	}
	if n := lab.Calls(); n != 0 {
		t.Errorf("%d calls left", n)
	}
}

// TestCallRefused tells scripts how a call ended, by the exit code.
func TestCallRefused(t *testing.T) {
	lab, ca := newLab(t)
	for who, want := range map[string]string{
		"busy": "They are busy", "reject": "They declined", "4711": "no such user", "sip:bob@" + lab.Domain(): "not there",
	} {
		code, out, errs := start(t, append([]string{"call", who}, flags(lab, ca, "alice")...)...)
		if code != exitRefused || !strings.Contains(errs, want) || !strings.Contains(out, "unregistered") {
			t.Errorf("%s: exit %d, want %q\n%s%s", who, code, want, out, errs)
		}
	}
	code, _, errs := start(t, append([]string{"call", "mailto:bob@example.com"}, flags(lab, ca, "alice")...)...)
	if code != exitUsage || !strings.Contains(errs, "scheme") {
		t.Errorf("a URI of mail: exit %d\n%s", code, errs)
	}
}

// TestTwoPhones has one program answer another: keys, DTMF, a second caller, and who hangs up.
func TestTwoPhones(t *testing.T) {
	t.Parallel()
	lab, ca := newLab(t)
	bob := begin(t, append([]string{"listen"}, flags(lab, ca, "bob")...)...)
	bob.out.await(t, "registered sip:bob@pbx.example")

	alice := begin(t, append([]string{"call", "bob", "-dtmf", "12#"}, flags(lab, ca, "alice")...)...)
	alice.out.await(t, "180 Ringing")
	bob.out.await(t, "Alice <sip:alice@pbx.example> calls")
	bob.typ(t, "a")
	bob.out.await(t, "in call with")
	alice.out.await(t, "they are heard")
	alice.out.await(t, "pressed 12#")
	for _, key := range []string{"they pressed 1", "they pressed 2", "they pressed #"} {
		bob.out.await(t, key)
	}

	code, _, errs := start(t, append([]string{"call", "bob"}, flags(lab, ca, "carol")...)...)
	if code != exitRefused || !strings.Contains(errs, "They are busy") {
		t.Errorf("a second caller: exit %d\n%s", code, errs)
	}

	bob.typ(t, "5*")
	alice.out.await(t, "they pressed 5")
	alice.out.await(t, "they pressed *")
	bob.typ(t, "m")
	bob.out.await(t, "muted: true")
	bob.typ(t, "s")
	bob.out.await(t, "sent ")
	bob.typ(t, "what?")
	bob.out.await(t, keysTalking)
	bob.typ(t, "h")
	if code := alice.wait(t); code != exitOK || !strings.Contains(alice.out.String(), "they hung up after") {
		t.Errorf("alice: exit %d\n%s%s", code, alice.out, alice.err)
	}
	bob.out.await(t, "hung up after")

	// And bob is there for the next one, whom he does not like.
	code, _, errs = start(t, append([]string{"call", "bob"}, flags(lab, ca, "unwanted")...)...)
	if code == exitOK {
		t.Errorf("an unknown user calls: exit %d\n%s", code, errs)
	}
	carol := begin(t, append([]string{"call", "bob"}, flags(lab, ca, "carol")...)...)
	bob.out.await(t, "carol@pbx.example> calls\n")
	bob.typ(t, "d")
	if code := carol.wait(t); code != exitRefused || !strings.Contains(carol.err.String(), "They declined") {
		t.Errorf("carol: exit %d\n%s%s", code, carol.out, carol.err)
	}
	bob.typ(t, "q")
	if code := bob.wait(t); code != exitOK {
		t.Errorf("bob: exit %d\n%s%s", code, bob.out, bob.err)
	}
}

// TestAutoAnswer takes two calls without anybody's help, and records each.
func TestAutoAnswer(t *testing.T) {
	t.Parallel()
	lab, ca := newLab(t)
	tone := writeTone(t, enough/2)
	dir := t.TempDir()
	bob := begin(t, append([]string{"listen", "-auto-answer", "-calls", "2", "-record", filepath.Join(dir, "heard.wav")}, flags(lab, ca, "bob")...)...)
	bob.out.await(t, "registered sip:bob@pbx.example")
	for range 2 {
		code, out, errs := start(t, append([]string{"call", "bob", "-play", tone, "-loop", "-for", "3s", "-srtp", "optional"}, flags(lab, ca, "alice")...)...)
		if code != exitOK {
			t.Fatalf("exit %d\n%s%s", code, out, errs)
		}
	}
	if code := bob.wait(t); code != exitOK {
		t.Errorf("exit %d\n%s%s", code, bob.out, bob.err)
	}
	for _, file := range []string{"heard.wav", "heard-2.wav"} {
		if d := heardTone(t, filepath.Join(dir, file)); d < enough { // the file more than once
			t.Errorf("%s: %v of the tone", file, d)
		}
	}
}

// TestCallerGivesUp: a call that nobody answers is no failure of who is called.
func TestCallerGivesUp(t *testing.T) {
	lab, ca := newLab(t)
	bob := begin(t, append([]string{"listen", "-calls", "1"}, flags(lab, ca, "bob")...)...)
	bob.out.await(t, "registered sip:bob@pbx.example")
	alice := begin(t, append([]string{"call", "bob"}, flags(lab, ca, "alice")...)...)
	alice.out.await(t, "180 Ringing")
	alice.typ(t, "h")
	if code := alice.wait(t); code != exitInterrupted {
		t.Errorf("alice: exit %d\n%s%s", code, alice.out, alice.err)
	}
	if code := bob.wait(t); code != exitOK || !strings.Contains(bob.out.String(), "they gave up") {
		t.Errorf("bob: exit %d\n%s%s", code, bob.out, bob.err)
	}
}

// TestSRTPPolicies: what one requires and the other refuses makes no call, and both say why.
func TestSRTPPolicies(t *testing.T) {
	lab, ca := newLab(t)
	bob := begin(t, append([]string{"listen", "-auto-answer", "-srtp", "required", "-calls", "1"}, flags(lab, ca, "bob")...)...)
	bob.out.await(t, "registered sip:bob@pbx.example")
	code, out, errs := start(t, append([]string{"call", "bob", "-srtp", "off"}, flags(lab, ca, "alice")...)...)
	if code != exitRefused || !strings.Contains(errs, "-srtp") {
		t.Errorf("alice: exit %d\n%s%s", code, out, errs)
	}
	if code := bob.wait(t); code != exitFailed || !strings.Contains(bob.out.String(), "does not encrypt") {
		t.Errorf("bob: exit %d\n%s%s", code, bob.out, bob.err)
	}
}
