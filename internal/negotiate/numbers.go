package negotiate

import "slices"

// numbers remembers what our payload types mean in one stream. A number never
// changes its meaning for as long as the session lasts (RFC 3264 §8.3.2).
type numbers struct {
	ours   []format // the newest last
	theirs payloads // numbers the peer has used, which we avoid for something new
}

// assign gives f a number: wish if it is free or means f already, else the one
// f had last, else a new one. wish < 0 is no wish. ok is false when all are
// taken.
func (n *numbers) assign(f format, wish int) (format, bool) {
	if wish >= 0 {
		f.pt = uint8(wish)
		if n.free(f.pt, f) {
			if _, known := n.owner(f.pt); !known {
				n.ours = append(slices.Clip(n.ours), f)
			}
			return f, true
		}
	}
	for _, g := range slices.Backward(n.ours) {
		if g.same(f) {
			f.pt = g.pt
			return f, true
		}
	}
	for _, avoid := range []payloads{n.theirs, {}} {
		for _, pt := range dynamic {
			if _, taken := n.owner(pt); !taken && !avoid.has(pt) && (pt != eventPT || f.codec == event) {
				f.pt = pt
				n.ours = append(slices.Clip(n.ours), f)
				return f, true
			}
		}
	}
	return f, false
}

// free tells whether pt can mean f.
func (n *numbers) free(pt uint8, f format) bool {
	owner, taken := n.owner(pt)
	return !taken || owner.same(f)
}

func (n *numbers) owner(pt uint8) (format, bool) {
	for _, g := range n.ours {
		if g.pt == pt {
			return g, true
		}
	}
	return format{}, false
}

// eventPT is what everybody uses for telephone-event/8000, so that nothing
// else should.
const eventPT = 101

// dynamic are the numbers to give out: the dynamic range, and then unassigned
// ones that do not look like RTCP when multiplexed (RFC 5761 §4).
var dynamic = func() (d []uint8) {
	for pt := uint8(96); pt <= 127; pt++ {
		d = append(d, pt)
	}
	for pt := uint8(35); pt <= 63; pt++ {
		d = append(d, pt)
	}
	return d
}()

// payloads is a set of payload types.
type payloads [2]uint64

func (p *payloads) add(pt uint8)     { p[pt>>6&1] |= 1 << (pt & 63) }
func (p *payloads) join(q payloads)  { p[0], p[1] = p[0]|q[0], p[1]|q[1] }
func (p payloads) has(pt uint8) bool { return p[pt>>6&1]>>(pt&63)&1 == 1 }
