//go:build !linux

package rtpio

import (
	"errors"
	"net"
	"net/netip"
)

// A Batch is scratch space for [Conn.Drain].
type Batch struct {
	swap []byte
	one  Packet
}

// NewBatch makes the scratch space that one goroutine needs.
func NewBatch() *Batch { return new(Batch) }

func newRaw(*net.UDPConn, netip.AddrPort) (Conn, error) { return nil, errors.ErrUnsupported }
