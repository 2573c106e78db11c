package siptest_test

import (
	"context"
	"errors"
	"fmt"
	"log"
	"os"
	"strings"
	"time"

	"github.com/hoorn-phone/hoorn/sip"
	"github.com/hoorn-phone/hoorn/sip/siptest"
)

// A call between two users over TLS.
func Example() {
	srv, err := siptest.Start(&siptest.Config{
		Users: []siptest.User{
			{Name: "alice", DisplayName: "Alice", Number: "1001"},
			{Name: "bob", Number: "1002"},
		},
	})
	if err != nil {
		log.Fatal(err)
	}
	defer srv.Close()
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()

	alice, err := sip.New(srv.Config("alice"))
	if err != nil {
		log.Fatal(err)
	}
	defer alice.Close()
	bob, err := sip.New(srv.Config("bob"))
	if err != nil {
		log.Fatal(err)
	}
	defer bob.Close()
	for _, ua := range []*sip.UA{alice, bob} {
		if _, err := ua.Register(ctx); err != nil {
			log.Fatal(err)
		}
	}

	go func() {
		call, err := bob.Accept(ctx)
		if err != nil {
			return
		}
		fmt.Println("bob is called by", call.Remote().Name, call.Remote().URI)
		if err := call.Answer(ctx, nil); err != nil {
			log.Print(err)
		}
	}()
	call, err := alice.Dial(ctx, "1002", nil)
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println("alice's call is", call.State())
	if err := call.Hangup(ctx); err != nil {
		log.Fatal(err)
	}
	// Output:
	// bob is called by Alice sip:1001@pbx.example;user=phone
	// alice's call is established
}

// The second REGISTER, which has the credentials, is refused for a while.
func ExampleServer_Inject() {
	srv, err := siptest.Start(&siptest.Config{Users: []siptest.User{{Name: "alice"}}})
	if err != nil {
		log.Fatal(err)
	}
	defer srv.Close()
	srv.Inject(siptest.Fault{
		Match:  siptest.Match{Method: "REGISTER", User: "alice"},
		First:  2,
		Answer: 503, RetryAfter: 30 * time.Second,
	})

	ua, err := sip.New(srv.Config("alice"))
	if err != nil {
		log.Fatal(err)
	}
	defer ua.Close()
	_, err = ua.Register(context.Background())
	var refused *sip.StatusError
	fmt.Println(errors.As(err, &refused) && refused.Code == 503)
	// Output: true
}

// A number that is busy, and the ladder of the call.
func ExampleTranscript_WriteText() {
	srv, err := siptest.Start(&siptest.Config{
		Users: []siptest.User{{Name: "alice"}},
		Auth:  siptest.Auth{OpenCalls: true},
	})
	if err != nil {
		log.Fatal(err)
	}
	defer srv.Close()
	ua, err := sip.New(srv.Config("alice"))
	if err != nil {
		log.Fatal(err)
	}
	defer ua.Close()
	if _, err := ua.Register(context.Background()); err != nil {
		log.Fatal(err)
	}
	_, err = ua.Dial(context.Background(), "busy", nil)
	fmt.Println(err)
	ua.Close()

	ladder := srv.Transcript().Filter(func(e *siptest.Entry) bool {
		return !strings.Contains(string(e.Data), "REGISTER")
	})
	for i := range ladder.Entries { // for an output that is the same each time
		ladder.Entries[i].Time = ladder.Entries[0].Time
	}
	if err := ladder.WriteText(os.Stdout, nil); err != nil {
		log.Fatal(err)
	}
	// Output:
	// sip: INVITE refused: 486 Busy Here
	//          alice                          lab
	//      0.000 │──────── INVITE +SDP ───────▶│  #1
	//      0.000 │◀────── 486 Busy Here ───────│  #1
	//      0.000 │──────────── ACK ───────────▶│  #1
}
