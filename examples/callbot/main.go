// Callbot answers every call and plays a file, or says back what it hears.
//
//	HOORN_PASSWORD=… go run ./examples/callbot -account sip:bot@example.com
//	HOORN_PASSWORD=… go run ./examples/callbot -account sip:bot@example.com -wav welcome.wav
//
// It takes any number of calls at once, up to -max. With -wav it hangs up when
// the file has been played, otherwise the caller decides.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"log/slog"
	"os"
	"os/signal"
	"syscall"
	"time"

	"github.com/hoorn-phone/hoorn/media"
	"github.com/hoorn-phone/hoorn/media/wav"
	"github.com/hoorn-phone/hoorn/sip"
)

func main() {
	account := flag.String("account", "", "the address of record, such as `sip:bot@example.com`")
	proxy := flag.String("proxy", "", "the server to connect to, such as `sip:edge.example.com;transport=tls`; by default DNS tells")
	file := flag.String("wav", "", "play this WAV `FILE` and hang up; by default callers hear themselves")
	most := flag.Int("max", 100, "the most calls at once; more are told that the bot is busy")
	flag.Parse()
	log := slog.New(slog.NewTextHandler(os.Stderr, nil))

	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	b := &bot{log: log, most: *most}
	cfg := &sip.Config{Account: sip.Account{AOR: *account, Proxy: *proxy, Password: os.Getenv("HOORN_PASSWORD")}}
	err := b.load(*file)
	if err == nil {
		err = b.serve(ctx, cfg)
	}
	if err != nil {
		log.Error("ending", "err", err)
		os.Exit(1)
	}
}

// maxFile bounds a file that is played, which is kept in memory once for all calls.
const maxFile = 10 * time.Minute

// bot answers calls.
type bot struct {
	log  *slog.Logger
	most int
	rate int
	pcm  []int16 // to play; nil is an echo
}

// load reads the file to play; none is an echo.
func (b *bot) load(path string) error {
	if path == "" {
		return nil
	}
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer f.Close()
	b.pcm, b.rate, err = wav.ReadAll(f, int(maxFile.Seconds())*48000)
	if err == nil && len(b.pcm) == 0 {
		err = errors.New("there is no sound in it")
	}
	if err != nil {
		return fmt.Errorf("%s: %w", path, err)
	}
	return nil
}

// serve registers and takes calls until the context or the registration ends;
// the former is no error.
func (b *bot) serve(ctx context.Context, cfg *sip.Config) error {
	engine, err := media.NewEngine(nil)
	if err != nil {
		return err
	}
	defer engine.Close()
	cfg.NewMedia = engine.NewSession
	ua, err := sip.New(cfg)
	if err != nil {
		return err
	}
	defer ua.Close() // hangs up all calls and unregisters
	reg, err := ua.Register(ctx)
	if err != nil {
		return err
	}
	b.log.Info("registered", "account", ua.AOR())

	ctx, cancel := context.WithCancelCause(ctx)
	go func() { cancel(reg.Wait(ctx)) }()
	lines := make(chan struct{}, b.most)
	for {
		call, err := ua.Accept(ctx)
		if err != nil {
			if cause := context.Cause(ctx); !errors.Is(cause, context.Canceled) {
				return cause
			}
			return nil
		}
		select {
		case lines <- struct{}{}:
			go func() {
				defer func() { <-lines }()
				err := b.take(ctx, call)
				b.log.Info("call ended", "caller", call.Remote().URI, "by", call.End().By, "err", err)
			}()
		default:
			_ = call.Reject(ctx, 486) // its caller may have given up already
		}
	}
}

// take is one call.
func (b *bot) take(ctx context.Context, call *sip.Call) error {
	if err := call.Answer(ctx, nil); err != nil {
		return err
	}
	session, ok := media.FromCall(call)
	if !ok {
		return errors.New("no media")
	}
	b.log.Info("call", "caller", call.Remote().URI, "stats", session.Stats().String())
	if b.pcm == nil {
		e := newEcho()
		if err := errors.Join(session.SetSink(e), session.SetSource(e)); err != nil {
			return err
		}
		return call.Wait(ctx)
	}
	err := session.Play(ctx, media.NewPCMSource(b.rate, b.pcm, false))
	if errors.Is(err, media.ErrClosed) {
		err = nil // the caller has heard enough
	}
	return errors.Join(err, call.Hangup(ctx))
}
