package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"time"

	"github.com/hoorn-phone/hoorn/media"
	"github.com/hoorn-phone/hoorn/media/wav"
)

// maxLoop bounds a file that loops, which is kept in memory.
const maxLoop = 10 * time.Minute

// sound is what -play says.
type sound struct {
	path string
	rate int
	pcm  []int16 // of a file that loops; another is read as it is sent
}

// openSound finds mistakes before anybody is called. It is nil without -play.
func openSound(set *settings) (*sound, error) {
	switch {
	case set.play == "" && set.loop:
		return nil, usagef("-loop without -play")
	case set.play == "":
		return nil, nil
	case set.loop:
		return loadSound(set.play)
	}
	src, err := media.OpenWAV(set.play)
	if err != nil {
		return nil, fmt.Errorf("-play %s: %w", set.play, err)
	}
	return &sound{path: set.play}, src.Close()
}

func loadSound(path string) (*sound, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	limit := int(maxLoop.Seconds()) * 48000
	pcm, rate, err := wav.ReadAll(f, limit+1)
	switch {
	case err != nil:
		return nil, fmt.Errorf("-play %s: %w", path, err)
	case len(pcm) == 0:
		return nil, fmt.Errorf("-play %s: there is no sound in it", path)
	case len(pcm) > limit:
		return nil, fmt.Errorf("-play %s: too long to loop; %v is the limit", path, maxLoop)
	}
	return &sound{path: path, rate: rate, pcm: pcm}, nil
}

// source begins the sound.
func (s *sound) source() (media.Source, error) {
	if s.pcm != nil {
		return media.NewPCMSource(s.rate, s.pcm, true), nil
	}
	return media.OpenWAV(s.path)
}

// say sends the sound, until there is no more to say or the call has ended.
func (p *phone) say(ctx context.Context, sess *media.Session) {
	s := p.sound
	if s == nil {
		return
	}
	src, err := s.source()
	if err != nil {
		p.out.line("playing: %v", err)
		return
	}
	switch err := sess.Play(ctx, src); {
	case err == nil:
		p.out.line("%s is played", s.path)
	case ctx.Err() == nil && !errors.Is(err, media.ErrClosed):
		p.out.line("playing %s: %v", s.path, err)
	}
}
