package broadworks_test

import (
	"context"
	"errors"
	"fmt"
	"log"
	"time"

	"github.com/hoorn-phone/hoorn/sip"
	"github.com/hoorn-phone/hoorn/sip/broadworks"
	"github.com/hoorn-phone/hoorn/sip/siptest"
)

// register gives the account of a user of the lab's, registered. With a real
// server sip.Config says who the account is, and mostly no more.
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

// answer answers the next call, and hands it over.
func answer(ctx context.Context, ua *sip.UA) <-chan *sip.Call {
	answered := make(chan *sip.Call, 1)
	go func() {
		call, err := ua.Accept(ctx)
		if err == nil {
			err = call.Answer(ctx, nil)
		}
		if err != nil {
			log.Fatal(err)
		}
		answered <- call
	}()
	return answered
}

// Alice has the server send her calls on to carol.
func ExampleServices_SetForward() {
	lab, err := siptest.Start(&siptest.Config{Users: []siptest.User{{Name: "alice", Number: "1001"}, {Name: "bob"}, {Name: "carol", Number: "1003"}}})
	if err != nil {
		log.Fatal(err)
	}
	defer lab.Close()
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	alice, bob, carol := register(ctx, lab, "alice"), register(ctx, lab, "bob"), register(ctx, lab, "carol")
	defer alice.Close()
	defer bob.Close()
	defer carol.Close()

	services := broadworks.New(alice, nil)
	if err := services.SetForward(ctx, broadworks.Always, "1003"); err != nil {
		log.Fatal(err)
	}
	answered := answer(ctx, carol)
	if _, err := bob.Dial(ctx, "1001", nil); err != nil {
		log.Fatal(err)
	}
	from := (<-answered).Identity().Diversions[0]
	fmt.Println("carol has a call that was for", from.URI, from.Reason)

	err = services.SetForward(ctx, broadworks.Always, "1009")
	var refused *sip.StatusError
	fmt.Println(errors.As(err, &refused), err)
	// Output:
	// carol has a call that was for sip:1001@pbx.example;user=phone unconditional
	// true broadworks: forward always on: sip: INVITE refused: 404 Not Found
}

// Alice parks her call with bob, and carol takes it from there.
func ExampleServices_Park() {
	lab, err := siptest.Start(&siptest.Config{Users: []siptest.User{{Name: "alice", Number: "1001"}, {Name: "bob"}, {Name: "carol"}}})
	if err != nil {
		log.Fatal(err)
	}
	defer lab.Close()
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	alice, bob, carol := register(ctx, lab, "alice"), register(ctx, lab, "bob"), register(ctx, lab, "carol")
	defer alice.Close()
	defer bob.Close()
	defer carol.Close()

	answer(ctx, bob)
	call, err := alice.Dial(ctx, "bob", nil)
	if err != nil {
		log.Fatal(err)
	}
	if err := broadworks.New(alice, nil).Park(ctx, call, ""); err != nil {
		log.Fatal(err)
	}
	fmt.Println("alice's call is", call.State())
	call, err = broadworks.New(carol, nil).Retrieve(ctx, "1001", nil)
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println("carol talks to", call.Identity().Asserted[0].URI)
	// Output:
	// alice's call is ended
	// carol talks to sip:bob@pbx.example
}

// Alice lets bob, who has called her, leave a message for carol.
func ExampleServices_TransferToVoicemail() {
	lab, err := siptest.Start(&siptest.Config{Users: []siptest.User{
		{Name: "alice"}, {Name: "bob"}, {Name: "carol", Number: "1003", Voicemail: &siptest.Voicemail{}},
	}})
	if err != nil {
		log.Fatal(err)
	}
	defer lab.Close()
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	alice, bob := register(ctx, lab, "alice"), register(ctx, lab, "bob")
	defer alice.Close()
	defer bob.Close()

	answered := answer(ctx, alice)
	if _, err := bob.Dial(ctx, "alice", nil); err != nil {
		log.Fatal(err)
	}
	if err := broadworks.New(alice, nil).TransferToVoicemail(ctx, <-answered, "1003"); err != nil {
		log.Fatal(err)
	}
	for _, c := range lab.CallList() {
		if c.Mailbox != "" {
			fmt.Println(c.Legs[0].User, "is in the mailbox of", c.Mailbox)
		}
	}
	// Output: bob is in the mailbox of carol
}

// A server that has other codes, and no group pickup.
func ExampleNew() {
	lab, err := siptest.Start(&siptest.Config{
		Users: []siptest.User{{Name: "alice"}},
		Codes: map[siptest.Feature]string{siptest.DoNotDisturbOn: "*501", siptest.DoNotDisturbOff: "*500"},
	})
	if err != nil {
		log.Fatal(err)
	}
	defer lab.Close()
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	alice := register(ctx, lab, "alice")
	defer alice.Close()

	services := broadworks.New(alice, map[broadworks.Feature]string{
		broadworks.DoNotDisturbOn: "*501", broadworks.DoNotDisturbOff: "*500", broadworks.GroupPickup: "",
	})
	if err := services.SetDoNotDisturb(ctx, true); err != nil {
		log.Fatal(err)
	}
	fmt.Println(lab.Settings("alice").DoNotDisturb)
	_, err = services.PickupGroup(ctx, nil)
	fmt.Println(err)
	// Output:
	// true
	// broadworks: group pickup: the feature has no access code
}
