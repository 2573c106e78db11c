package media

import (
	"slices"
	"sync"
	"time"

	"github.com/hoorn-phone/hoorn/internal/rtpio"
)

const (
	// frameTime is the time between two turns of a session.
	frameTime = 20 * time.Millisecond

	// A pacer wakes up for a slot, not for a session: sessions are spread over
	// four slots of 5 ms, but a slot is filled up to slotFull before the next
	// one is opened, because each wake-up has its price.
	slots    = 4
	slotTime = frameTime / slots
	slotFull = 64

	// aloneUntil is how many sessions the first pacer serves before others
	// start: their turns take about 2 ms of every 20.
	aloneUntil = slots * slotFull

	// lateLimit is how far a pacer may fall behind and still catch up turn by
	// turn. Beyond it (a suspended machine) it skips to the present.
	lateLimit = 200 * time.Millisecond
)

// A pacer gives the sessions it has their turns. Its goroutine lives while it
// has any.
type pacer struct {
	wg *sync.WaitGroup

	mu      sync.Mutex
	slots   [slots][]*Session // never changed in place: a turn reads them unlocked
	n       int
	running bool
	wake    chan struct{} // closed when the last session has gone
}

func (p *pacer) len() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.n
}

func (p *pacer) add(s *Session) {
	p.mu.Lock()
	defer p.mu.Unlock()
	best := 0
	for i := range p.slots {
		if n := len(p.slots[i]); n < slotFull {
			best = i
			break
		} else if n < len(p.slots[best]) {
			best = i
		}
	}
	p.slots[best] = append(slices.Clip(p.slots[best]), s)
	p.n++
	if !p.running {
		p.running = true
		p.wake = make(chan struct{})
		p.wg.Add(1)
		go p.run(p.wake)
	}
}

// remove takes a session away. A turn of it may still be under way.
func (p *pacer) remove(s *Session) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for i := range p.slots {
		if at := slices.Index(p.slots[i], s); at >= 0 {
			p.slots[i] = slices.Concat(p.slots[i][:at], p.slots[i][at+1:])
			if p.n--; p.n == 0 {
				p.running = false
				close(p.wake)
			}
			return
		}
	}
}

// next returns the first slot at or after tick that has sessions, as a tick.
func (p *pacer) next(tick int64) (int64, []*Session) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for i := range int64(slots) {
		if list := p.slots[(tick+i)%slots]; len(list) > 0 {
			return tick + i, list
		}
	}
	return tick, nil
}

// run paces until wake is closed.
func (p *pacer) run(wake chan struct{}) {
	defer p.wg.Done()
	w := newWork()
	base := time.Now()
	timer := time.NewTimer(0)
	defer timer.Stop()
	<-timer.C
	for tick := int64(0); ; tick++ {
		tick, _ = p.next(tick)
		due := base.Add(time.Duration(tick) * slotTime)
		now := time.Now()
		if late := now.Sub(due); late < 0 {
			timer.Reset(-late)
			select {
			case <-timer.C:
			case <-wake:
				return
			}
			now = time.Now()
		} else if late > lateLimit {
			// Whole frames, so that every session keeps its slot.
			skip := late / frameTime * slots
			tick += int64(skip)
			due = due.Add(skip * slotTime)
		}
		select {
		case <-wake:
			return
		default:
		}
		_, list := p.next(tick)
		if now.Sub(due) > slotTime {
			w.late++
		}
		for _, s := range list {
			s.turn(w, due)
		}
	}
}

// work is what the turns of one pacer share: scratch space, so that a session
// keeps little memory and the packet path allocates none.
type work struct {
	batch  *rtpio.Batch
	plain  []byte // a decrypted packet
	packet []byte // a packet to be sent
	pcm    scratch
	late   uint64 // slots that began more than a slot late

	// The session being drained, for handle.
	session *Session
	now     time.Time
	handle  func(*rtpio.Packet)
}

// scratch is space for frames: what is heard, what is said, what a source gave,
// and what was resampled for a sink.
type scratch [4][]int16

func newScratch() (s scratch) {
	for i := range s {
		s[i] = make([]int16, 0, maxFrame)
	}
	return s
}

// maxFrame is 20 ms at the highest rate, with room for resampling that is a
// few samples ahead.
const maxFrame = 48000/50 + 64

func newWork() *work {
	w := &work{
		batch:  rtpio.NewBatch(),
		plain:  make([]byte, 0, rtpio.MaxPacket+64),
		packet: make([]byte, 0, rtpio.MaxPacket+256),
		pcm:    newScratch(),
	}
	w.handle = func(p *rtpio.Packet) { w.session.packet(w, p, w.now, false) }
	return w
}
