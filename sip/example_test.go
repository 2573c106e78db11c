package sip_test

import (
	"context"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"log"
	"net/http"
	"sync"
	"time"

	"github.com/hoorn-phone/hoorn/media"
	"github.com/hoorn-phone/hoorn/sip"
	"github.com/hoorn-phone/hoorn/sip/siptest"
)

// startLab starts the exchange that the examples talk to, in this process. With a
// real one, sip.Config says who the account is and mostly no more.
func startLab() *siptest.Server {
	lab, err := siptest.Start(&siptest.Config{Users: []siptest.User{{Name: "alice"}, {Name: "bob"}}})
	if err != nil {
		log.Fatal(err)
	}
	return lab
}

// An account registers over TLS, calls a number, and plays a tone, encrypted.
func Example() {
	lab := startLab()
	defer lab.Close()
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()

	engine, err := media.NewEngine(nil)
	if err != nil {
		log.Fatal(err)
	}
	defer engine.Close()
	cfg := lab.Config("alice") // Account and TLS are filled in
	cfg.NewMedia = engine.NewSession
	ua, err := sip.New(cfg)
	if err != nil {
		log.Fatal(err)
	}
	defer ua.Close()

	if _, err := ua.Register(ctx); err != nil {
		log.Fatal(err)
	}
	call, err := ua.Dial(ctx, "echo", nil) // returns when somebody has answered
	if err != nil {
		log.Fatal(err)
	}
	session, _ := media.FromCall(call)
	if err := session.SetSource(media.NewTone(16000, -10, 440)); err != nil {
		log.Fatal(err)
	}
	for e := range call.Events(ctx) {
		if e.Kind == sip.MediaStarted {
			break // the echo is heard
		}
	}
	fmt.Println(session.Stats().Suite, call.Streams()[0].Local)
	if err := call.Hangup(ctx); err != nil {
		log.Fatal(err)
	}
	fmt.Println(call.State())
	// Output:
	// AEAD_AES_128_GCM sendrecv
	// ended
}

// A registration lives by itself; who is interested can watch it.
func ExampleUA_Register() {
	lab := startLab()
	defer lab.Close()
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()

	ua, err := sip.New(lab.Config("alice"))
	if err != nil {
		log.Fatal(err)
	}
	defer ua.Close()
	reg, err := ua.Register(ctx)
	if err != nil {
		log.Fatal(err)
	}
	info := reg.Info()
	fmt.Println("over", info.Flow.Transport, "by RFC 5626:", info.Outbound)

	if err := reg.Unregister(ctx); err != nil {
		log.Fatal(err)
	}
	for e := range reg.Events(ctx) {
		fmt.Println(e.State)
	}
	fmt.Println(reg.Wait(ctx))
	// Output:
	// over tls by RFC 5626: true
	// registering
	// registered
	// unregistered
	// sip: unregistered
}

// A wrong password is an error of its own type.
func ExampleAuthError() {
	lab := startLab()
	defer lab.Close()
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()

	cfg := lab.Config("alice")
	cfg.Account.Password = "guess"
	ua, err := sip.New(cfg)
	if err != nil {
		log.Fatal(err)
	}
	defer ua.Close()
	_, err = ua.Register(ctx)
	var refused *sip.AuthError
	if errors.As(err, &refused) {
		fmt.Println("wrong password at", refused.Realm)
	}
	// Output:
	// wrong password at BroadWorks
}

// Who is called decides; the caller learns of it as a status.
func ExampleUA_Accept() {
	lab := startLab()
	defer lab.Close()
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()

	alice, bob := register(ctx, lab, "alice"), register(ctx, lab, "bob")
	defer alice.Close()
	defer bob.Close()

	var wg sync.WaitGroup
	wg.Go(func() {
		call, err := bob.Accept(ctx)
		if err != nil {
			log.Fatal(err)
		}
		fmt.Println("called by", call.Remote().URI)
		if err := call.Reject(ctx, 486); err != nil { // or call.Answer(ctx, nil)
			log.Fatal(err)
		}
	})
	_, err := alice.Dial(ctx, "bob", nil)
	wg.Wait()
	var refused *sip.StatusError
	if errors.As(err, &refused) {
		fmt.Println(refused.Code, refused.Phrase)
	}
	// Output:
	// called by sip:alice@pbx.example
	// 486 Busy Here
}

// Start returns at once, and the events tell how the call goes on.
func ExampleCall_Events() {
	lab := startLab()
	defer lab.Close()
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	alice := register(ctx, lab, "alice")
	defer alice.Close()

	call, err := alice.Start(ctx, "noanswer", nil)
	if err != nil {
		log.Fatal(err)
	}
	for e := range call.Events(ctx) {
		switch e.Kind {
		case sip.Progress:
			fmt.Println(e.Status, e.Phrase)
		case sip.StateChanged:
			fmt.Println("now", e.State)
			if e.State == sip.CallRinging {
				if err := call.Hangup(ctx); err != nil {
					log.Fatal(err)
				}
			}
		}
	}
	fmt.Println("ended by", call.End().By)
	// Output:
	// now calling
	// now ringing
	// 180 Ringing
	// now ended
	// ended by local
}

// Messages go to all devices of whom they are for; the result says that one has
// taken them.
func ExampleUA_SendMessage() {
	lab := startLab()
	defer lab.Close()
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	alice, bob := register(ctx, lab, "alice"), register(ctx, lab, "bob")
	defer alice.Close()
	defer bob.Close()

	result, err := alice.SendMessage(ctx, "bob", "text/plain", []byte("Watson, come here."))
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(result.Status)
	for m := range bob.Messages(ctx) {
		fmt.Printf("%s: %s\n", m.Remote.URI, m.Body)
		break
	}
	_, err = alice.SendMessage(ctx, "carol", "text/plain", []byte("Where are you?"))
	fmt.Println(err)
	// Output:
	// 200
	// sip:alice@pbx.example: Watson, come here.
	// sip: MESSAGE refused: 404 Not Found
}

// Who calls is checked with certificates that the app fetches, over HTTP here. One
// that is busy keeps them, and looks at lists of revoked ones.
func ExampleIdentityConfig() {
	roots := x509.NewCertPool() // of the authorities for telephone numbers
	fetch := func(ctx context.Context, x5u string) ([]*x509.Certificate, error) {
		req, err := http.NewRequestWithContext(ctx, http.MethodGet, x5u, nil)
		if err != nil {
			return nil, err
		}
		res, err := http.DefaultClient.Do(req)
		if err != nil {
			return nil, err
		}
		defer res.Body.Close()
		if res.StatusCode != http.StatusOK {
			return nil, errors.New(res.Status)
		}
		text, err := io.ReadAll(io.LimitReader(res.Body, 64<<10))
		if err != nil {
			return nil, err
		}
		var chain []*x509.Certificate
		for block, rest := pem.Decode(text); block != nil; block, rest = pem.Decode(rest) {
			c, err := x509.ParseCertificate(block.Bytes)
			if err != nil {
				return nil, err
			}
			chain = append(chain, c)
		}
		return chain, nil
	}
	ua, err := sip.New(&sip.Config{
		Account:  sip.Account{AOR: "sip:alice@example.com"},
		Identity: sip.IdentityConfig{Certificates: fetch, Roots: roots},
	})
	if err != nil {
		log.Fatal(err)
	}
	defer ua.Close()
	call, err := ua.Accept(context.Background())
	if err != nil {
		log.Fatal(err)
	}
	id := call.Identity()
	fmt.Println(call.Remote(), id.Verified, id.VerifyErr)
	var why *sip.IdentityError
	if errors.As(id.VerifyErr, &why) && why.Reason == sip.IdentitySignature {
		_ = call.Reject(context.Background(), 438) // RFC 8224 §6.2.2
	}
}

// register makes a user agent that calls without sound.
func register(ctx context.Context, lab *siptest.Server, user string) *sip.UA {
	ua, err := sip.New(lab.Config(user))
	if err != nil {
		log.Fatal(err)
	}
	if _, err := ua.Register(ctx); err != nil {
		log.Fatal(err)
	}
	return ua
}
