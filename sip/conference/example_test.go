package conference_test

import (
	"context"
	"fmt"
	"log"
	"time"

	"github.com/hoorn-phone/hoorn/media"
	"github.com/hoorn-phone/hoorn/sip"
	"github.com/hoorn-phone/hoorn/sip/conference"
	"github.com/hoorn-phone/hoorn/sip/siptest"
)

// Alice calls bob and carol, and merges the two calls on her device: each hears
// the other two. Then she leaves, and they go on with each other.
func Example() {
	lab, err := siptest.Start(&siptest.Config{Users: []siptest.User{{Name: "alice"}, {Name: "bob"}, {Name: "carol"}}})
	if err != nil {
		log.Fatal(err)
	}
	defer lab.Close()
	engine, err := media.NewEngine(nil)
	if err != nil {
		log.Fatal(err)
	}
	defer engine.Close()
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()

	uas := make(map[string]*sip.UA)
	for _, user := range []string{"alice", "bob", "carol"} {
		cfg := lab.Config(user)
		cfg.NewMedia = engine.NewSession
		ua, err := sip.New(cfg)
		if err != nil {
			log.Fatal(err)
		}
		defer ua.Close()
		if _, err := ua.Register(ctx); err != nil {
			log.Fatal(err)
		}
		uas[user] = ua
	}
	var calls []*sip.Call
	for _, user := range []string{"bob", "carol"} {
		go func() {
			if call, err := uas[user].Accept(ctx); err == nil {
				_ = call.Answer(ctx, nil)
			}
		}()
		call, err := uas["alice"].Dial(ctx, user, nil)
		if err != nil {
			log.Fatal(err)
		}
		calls = append(calls, call)
	}

	// With Factory it would be the server that mixes.
	conf, err := conference.Merge(ctx, &conference.Config{NewMixer: engine.NewMixer}, calls...)
	if err != nil {
		log.Fatal(err)
	}
	for _, p := range conf.Participants() {
		fmt.Println("merged:", p.Party.URI)
	}
	if err := conf.Leave(ctx); err != nil {
		log.Fatal(err)
	}
	fmt.Println("left:", conf.Wait(ctx) == nil)
	// Output:
	// merged: sip:bob@pbx.example
	// merged: sip:carol@pbx.example
	// left: true
}
