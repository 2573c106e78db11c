package xmpplink

import (
	"crypto/tls"
	"net"
	"time"
)

// Conn is a connection to a server on which a stream can begin.
type Conn struct {
	Net    net.Conn // TCP, in clear text as yet
	Direct bool     // TLS begins at once (XEP-0368)

	WebSocket WebSocket // instead of Net
}

// WebSocket is a WebSocket connection with the subprotocol xmpp (RFC 7395).
type WebSocket interface {
	ReadMessage() ([]byte, error)
	WriteMessage([]byte) error
	SetDeadline(time.Time) error
	TLS() *tls.ConnectionState
	Close() error
}
