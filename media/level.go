package media

import (
	"math"
	"time"
)

const (
	// meterFrames is how much sound a level is of: 200 ms.
	meterFrames = 10

	// meterTurns is for how long levels are measured after they were asked for.
	meterTurns = int(5 * time.Second / frameTime)
)

// SilenceLevel is the level of silence, and the lowest there is.
const SilenceLevel = -96.0

// A Level is how loud something is, in dBFS: 0 is the highest there is, a sine
// that reaches it has an RMS of -3, and [SilenceLevel] is the lowest.
type Level struct{ Peak, RMS float64 }

// Levels are the levels of a session.
type Levels struct {
	In  Level // what the peer says, as it is heard here
	Out Level // what the peer is sent
}

// Levels returns how loud the last 200 ms were. They are measured while somebody
// asks: the first call, and one after a pause of more than 5 s, returns silence.
func (s *Session) Levels() Levels {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.meter.wanted == 0 {
		s.meter = meter{}
	}
	s.meter.wanted = meterTurns
	return Levels{In: s.meter.in.level(), Out: s.meter.out.level()}
}

// meter is the levels of a session's last frames.
type meter struct {
	wanted  int // turns
	in, out loudness
}

// loudness is that of the last frames.
type loudness struct {
	at     int
	frames [meterFrames]frameLevel
}

type frameLevel struct {
	peak    int
	sum     float64 // of squares
	samples int
}

func (l *loudness) add(f frameLevel) {
	l.frames[l.at] = f
	l.at = (l.at + 1) % meterFrames
}

func (l *loudness) level() Level {
	var all frameLevel
	for _, f := range l.frames {
		all.peak = max(all.peak, f.peak)
		all.sum += f.sum
		all.samples += f.samples
	}
	return Level{
		Peak: decibel(float64(all.peak) / 32767),
		RMS:  decibel(math.Sqrt(all.sum/float64(max(1, all.samples))) / 32767),
	}
}

func decibel(v float64) float64 {
	return min(max(20*math.Log10(v), SilenceLevel), 0)
}

// measure returns the level of a frame, nil being silence.
func measure(pcm []int16) (f frameLevel) {
	var sum int64
	for _, v := range pcm {
		n := int(v)
		sum += int64(n) * int64(n)
		f.peak = max(f.peak, n, -n)
	}
	f.sum, f.samples = float64(sum), len(pcm)
	return f
}
