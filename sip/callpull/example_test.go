package callpull_test

import (
	"context"
	"fmt"
	"log"
	"time"

	"github.com/hoorn-phone/hoorn/sip"
	"github.com/hoorn-phone/hoorn/sip/callpull"
	"github.com/hoorn-phone/hoorn/sip/siptest"
)

// The mobile sees what the desk phone does: it calls, and hangs up.
func ExampleWatch() {
	ctx, lab, end := start()
	defer end()
	desk, mobile, bob := register(ctx, lab, "alice"), register(ctx, lab, "alice"), register(ctx, lab, "bob")
	defer desk.Close()
	defer mobile.Close()
	defer bob.Close()

	w, err := callpull.Watch(ctx, mobile, nil)
	if err != nil {
		log.Fatal(err)
	}
	call := connect(ctx, desk, bob)
	seen := false
	for calls := range w.Changes(ctx) {
		switch {
		case seen && len(calls) == 0:
			fmt.Println("over")
			if err := w.Close(ctx); err != nil { // which ends Changes
				log.Fatal(err)
			}
		case !seen && len(calls) == 1 && calls[0].State == "confirmed":
			seen = true
			fmt.Println(calls[0].Direction, "call with", calls[0].Remote.URI)
			if err := call.Hangup(ctx); err != nil {
				log.Fatal(err)
			}
		}
	}
	// Output:
	// outgoing call with sip:bob@pbx.example
	// over
}

// The mobile takes the desk phone's call. For bob it goes on; the desk phone has
// it no more.
func ExampleWatcher_Pull() {
	ctx, lab, end := start()
	defer end()
	desk, mobile, bob := register(ctx, lab, "alice"), register(ctx, lab, "alice"), register(ctx, lab, "bob")
	defer desk.Close()
	defer mobile.Close()
	defer bob.Close()
	there := connect(ctx, desk, bob)

	w, err := callpull.Watch(ctx, mobile, nil)
	if err != nil {
		log.Fatal(err)
	}
	for calls := range w.Changes(ctx) {
		if len(calls) == 0 {
			continue
		}
		here, err := w.Pull(ctx, calls[0], nil)
		if err != nil {
			log.Fatal(err) // errors.Is(err, callpull.ErrGone), …: the desk phone has it still
		}
		fmt.Println("here:", here.State())
		break
	}
	if err := there.Wait(ctx); err != nil {
		log.Fatal(err)
	}
	fmt.Println("on the desk phone:", there.State())
	// Output:
	// here: established
	// on the desk phone: ended
}

// The desk phone gives its call to the account's other device, the mobile.
func ExampleWatcher_Push() {
	ctx, lab, end := start()
	defer end()
	desk, mobile, bob := register(ctx, lab, "alice"), register(ctx, lab, "alice"), register(ctx, lab, "bob")
	defer desk.Close()
	defer mobile.Close()
	defer bob.Close()
	there := connect(ctx, desk, bob)

	w, err := callpull.Watch(ctx, desk, nil)
	if err != nil {
		log.Fatal(err)
	}
	devices, err := desk.Devices(ctx)
	if err != nil || len(devices) == 0 {
		log.Fatal(err)
	}
	if err := w.Push(ctx, there, devices[0].URI); err != nil {
		log.Fatal(err) // there goes on
	}
	fmt.Println("on the desk phone:", there.State())
	here, err := mobile.Accept(ctx) // without the user being asked
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println("here:", here.State())
	// Output:
	// on the desk phone: ended
	// here: established
}

// start starts the exchange that the examples talk to, in this process.
func start() (ctx context.Context, lab *siptest.Server, end func()) {
	lab, err := siptest.Start(&siptest.Config{
		Users:     []siptest.User{{Name: "alice"}, {Name: "bob"}},
		Registrar: siptest.Registrar{GRUU: true},
	})
	if err != nil {
		log.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	return ctx, lab, func() { cancel(); lab.Close() }
}

// register makes a telephone of a user's, without sound.
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

// connect calls from one telephone to another, and answers there.
func connect(ctx context.Context, from, to *sip.UA) *sip.Call {
	go func() {
		if call, err := to.Accept(ctx); err == nil {
			_ = call.Answer(ctx, nil)
		}
	}()
	call, err := from.Dial(ctx, to.AOR(), nil)
	if err != nil {
		log.Fatal(err)
	}
	return call
}
