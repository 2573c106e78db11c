package main

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"github.com/hoorn-phone/hoorn/media"
	"github.com/hoorn-phone/hoorn/media/mediatest"
	"github.com/hoorn-phone/hoorn/media/wav"
)

// errNotHeard is wrapped by the error of a demo in which somebody did not hear
// the other.
var errNotHeard = errors.New("speech was not heard")

// direction is one half of the call, measured.
type direction struct {
	from, to *talker
	heard    bool
	score    mediatest.Score
}

// listen compares the recording of what was heard with what was said. Nothing
// that the program believes to have happened counts, just the file.
func listen(from, to *talker) (direction, error) {
	d := direction{from: from, to: to}
	f, err := os.Open(to.heard)
	if err != nil {
		return d, err
	}
	defer f.Close()
	got, rate, err := wav.ReadAll(f, 2*len(from.speech)+10*recordRate)
	if err != nil {
		return d, fmt.Errorf("%s: %w", to.heard, err)
	}
	if rate != recordRate {
		return d, fmt.Errorf("%s: recorded at %d Hz, not %d", to.heard, rate, recordRate)
	}
	d.heard, d.score = mediatest.Heard(from.speech, got, rate)
	return d, nil
}

// report prints the table and where the files are. The error says who did not
// hear whom.
func (d *demo) report() error {
	there, err := listen(d.alice, d.bob)
	if err != nil {
		return err
	}
	back, err := listen(d.bob, d.alice)
	if err != nil {
		return err
	}
	if err := errors.Join(there.verdict(), back.verdict()); err == nil {
		if err := d.judge(); err != nil {
			return err
		}
	}
	d.out.line("")
	d.out.table(d.rows(there, back))
	d.out.line("")
	d.out.table(d.act.rows())
	d.out.line("\nin %s:", d.dir)
	d.out.table([][]string{
		{filepath.Base(d.alice.heard), "what alice heard"},
		{filepath.Base(d.bob.heard), "what bob heard"},
		{"bob-pull.wav", "what bob heard while alice moved to her mobile"},
		{"alice-merge.wav, bob-merge.wav, carol-merge.wav", "what each of the three heard"},
		{filepath.Base(d.ladder()), "every SIP message, as a ladder: open it in a browser"},
	})
	d.out.line("%s has SIP and media for Wireshark and sngrep", d.pcap)
	return errors.Join(there.verdict(), back.verdict())
}

func (d *demo) rows(there, back direction) [][]string {
	rows := [][]string{{"", "alice to bob", "bob to alice"}}
	for _, r := range []struct {
		name string
		cell func(direction) string
	}{
		{"suite", func(x direction) string { return suite(x.from.stats) }},
		{"codec", func(x direction) string { return x.from.stats.Codec }},
		{"packets", func(x direction) string {
			return fmt.Sprintf("%d sent, %d received", x.from.stats.Sent.Packets, x.to.stats.Received.Packets)
		}},
		{"loss", func(x direction) string { return loss(x.to.stats.Received) }},
		{"concealed", func(x direction) string { return concealed(x.to.stats.Received) }},
		{"jitter", func(x direction) string { return milliseconds(x.to.stats.Received.Jitter) }},
		{"round trip", func(x direction) string { return roundTrip(x.from.stats) }},
		{"heard", func(x direction) string { return x.String() }},
	} {
		rows = append(rows, []string{r.name, r.cell(there), r.cell(back)})
	}
	return append(rows, []string{"setup time", milliseconds(d.setup)})
}

// concealed is the sound that was made up for what was lost or came too late.
func concealed(r media.ReceivedStats) string {
	return fmt.Sprintf("%d frames (%d packets late)", r.Concealed, r.Late)
}

// roundTrip is known when each has answered a report of the other.
func roundTrip(st media.Stats) string {
	if st.RTT == 0 {
		return "not measured"
	}
	return milliseconds(st.RTT)
}

func (x direction) String() string {
	if !x.heard {
		return "no"
	}
	return fmt.Sprintf("yes (intelligibility %.2f of 1)", x.score.STOI)
}

func (x direction) verdict() error {
	if x.heard {
		return nil
	}
	return fmt.Errorf("%s did not hear %s: %w (%v)", x.to.name, x.from.name, errNotHeard, x.score)
}
