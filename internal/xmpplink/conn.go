package xmpplink

import (
	"net"

	"github.com/hoorn-phone/hoorn/internal/xmppdial"
)

// Conn is a connection to a server on which a stream can begin.
type Conn struct {
	Net    net.Conn // TCP, in clear text as yet
	Target xmppdial.Target

	WebSocket *xmppdial.WebSocket // instead of both
}
