package media

import "github.com/hoorn-phone/hoorn/media/cn"

// comfortNoise is the payload type of comfort noise at 8000 Hz, the only clock
// rate it is agreed for (RFC 3389 §4).
const (
	comfortNoise      = cn.PayloadType
	comfortNoiseClock = 8000
)

// noise is what is heard while the peer says that it is silent.
type noise struct {
	on  bool
	gen *cn.Generator
}

func (n *noise) set(payload []byte) {
	p, err := cn.Parse(payload)
	if err != nil {
		return
	}
	if n.gen == nil {
		n.gen = new(cn.Generator)
	}
	n.gen.Update(p)
	n.on = true
}

// stop is called when there is sound again. The generator is kept.
func (n *noise) stop() { n.on = false }

func (n *noise) append(dst []int16, samples int) []int16 { return n.gen.Generate(dst, samples) }
