// Embed is the least there is to a call: register, call somebody, play them a
// file, hang up.
//
//	HOORN_PASSWORD=… go run ./examples/embed sip:alice@example.com bob hello.wav
package main

import (
	"context"
	"fmt"
	"log"
	"os"

	"github.com/hoorn-phone/hoorn/media"
	"github.com/hoorn-phone/hoorn/sip"
)

func main() {
	if len(os.Args) != 4 {
		log.Fatal("usage: embed ACCOUNT WHOM FILE.wav")
	}
	cfg := &sip.Config{Account: sip.Account{AOR: os.Args[1], Password: os.Getenv("HOORN_PASSWORD")}}
	if err := callAndPlay(context.Background(), cfg, os.Args[2], os.Args[3]); err != nil {
		log.Fatal(err)
	}
	fmt.Println("played")
}

func callAndPlay(ctx context.Context, cfg *sip.Config, whom, file string) error {
	engine, err := media.NewEngine(nil) // encrypts where the signalling is encrypted, as by default
	if err != nil {
		return err
	}
	defer engine.Close()
	cfg.NewMedia = engine.NewSession
	ua, err := sip.New(cfg)
	if err != nil {
		return err
	}
	defer ua.Close() // hangs up and unregisters
	if _, err := ua.Register(ctx); err != nil {
		return err
	}
	call, err := ua.Dial(ctx, whom, nil) // returns when they have answered
	if err != nil {
		return err
	}
	sound, err := media.OpenWAV(file)
	if err != nil {
		return err
	}
	session, _ := media.FromCall(call)
	return session.Play(ctx, sound)
}
