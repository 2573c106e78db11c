package jitter

import "time"

// delay measures how late packets are and says how long to hold the stream
// back.
//
// The transit of a packet is its arrival on our clock less its timestamp: an
// unknown constant, plus what the network added. The least transit of the last
// seconds stands for a packet that was not held up (it moves along when the
// two clocks drift). How much later than that each packet is goes into a
// histogram that forgets; the target delay is the time by which 95 % of the
// packets have come. This is how NetEq of WebRTC chooses its target.
type delay struct {
	rate     int64
	min, max int64
	began    time.Time // local time 0

	known  bool   // a packet has arrived
	lastTS int64  // extended timestamp of the newest packet
	last32 uint32 // the same as it stood in the packet

	least, leastBefore int64 // least transit in this window and in the one before
	windowEnd          int64

	bucket  int64 // ticks in one bucket of the histogram
	hist    [64]float32
	weight  float32 // of the next packet: growing it is forgetting the others
	total   float32
	wanted  int64
	current int64 // how long the last packet played was held back

	jitter  float64 // RFC 3550 §6.4.1
	transit int64   // of the last packet
}

const (
	forget   = 0.983 // per packet: after a second of 20 ms packets, 42 % remain
	quantile = 0.95
	prior    = 10 // packets' worth of belief in the start delay
	window   = 5  // seconds over which the least transit is looked for
)

func (d *delay) reset(cfg *Config) {
	*d = delay{rate: int64(cfg.ClockRate), began: d.began}
	d.min, d.max = d.of(cfg.MinDelay), d.of(cfg.MaxDelay)
	d.bucket = max(1, d.max/40)
	d.weight = 1
	start := min(max(d.of(cfg.StartDelay), d.min), d.max)
	d.hist[min(max(0, start-1)/d.bucket, int64(len(d.hist)-1))] = prior
	d.total = prior
	d.aim()
}

// forget keeps the histogram but not the time line.
func (d *delay) forget() { d.known = false }

func (d *delay) of(t time.Duration) int64 { return int64(t) / 1000 * d.rate / 1000000 }

func (d *delay) duration(ticks int64) time.Duration {
	return time.Duration(ticks * 1000000 / d.rate * 1000)
}

// ticks returns the local time in units of the stream's clock.
func (d *delay) ticks(now time.Time) int64 {
	if d.began.IsZero() {
		d.began = now
	}
	t := now.Sub(d.began)
	return int64(t/time.Second)*d.rate + int64(t%time.Second)*d.rate/int64(time.Second)
}

// arrived takes note of a packet and returns its timestamp extended to 64
// bits, on a time line that goes on unbroken where the peer's jumps.
func (d *delay) arrived(arrival int64, timestamp uint32, newest bool, dur int64) int64 {
	if !d.known {
		d.known = true
		d.lastTS, d.last32 = arrival, timestamp
		d.least, d.leastBefore = 0, 0
		d.windowEnd = arrival + window*d.rate
		d.transit = 0
		d.measure(0)
		return arrival
	}
	step := int64(int32(timestamp - d.last32))
	ts := d.lastTS + step
	transit := arrival - ts
	base := d.base()
	far := max(d.rate/2, d.max*5/2)
	jumped := transit-base > far || transit-base < -far
	switch {
	case !newest && jumped:
		return d.lastTS - dur // from before a jump: it has little chance anyway
	case newest && (jumped || step < 0):
		// Time does not run backwards, and no packet is later than we would
		// ever wait: the peer switched to another time line.
		ts = max(arrival-base, d.lastTS+dur)
		transit = arrival - ts
		d.transit = transit
	}
	if newest {
		d.lastTS, d.last32 = ts, timestamp
	}
	if arrival >= d.windowEnd {
		d.leastBefore, d.least = d.least, transit
		d.windowEnd = arrival + window*d.rate
	}
	d.least = min(d.least, transit)
	d.measure(transit - d.base())

	diff := transit - d.transit
	d.transit = transit
	d.jitter += (float64(max(diff, -diff)) - d.jitter) / 16
	return ts
}

func (d *delay) base() int64 { return min(d.least, d.leastBefore) }

// heldBack returns how long after its earliest possible arrival a packet with
// this timestamp is played if it is played now.
func (d *delay) heldBack(now, ts int64) int64 { return now - ts - d.base() }

func (d *delay) target() int64 { return d.wanted }

// measure adds a packet that came late ticks after an unhindered one.
func (d *delay) measure(late int64) {
	d.weight /= forget
	if d.weight > 1e6 {
		for i := range d.hist {
			d.hist[i] /= d.weight
		}
		d.total /= d.weight
		d.weight = 1
	}
	d.hist[min(max(0, late)/d.bucket, int64(len(d.hist)-1))] += d.weight
	d.total += d.weight
	d.aim()
}

// aim finds the quantile.
func (d *delay) aim() {
	over := d.total * (1 - quantile)
	i := len(d.hist) - 1
	for ; i > 0; i-- {
		if over -= d.hist[i]; over < 0 {
			break
		}
	}
	d.wanted = min(max(int64(i+1)*d.bucket, d.min), d.max)
}
