package xmpptest

import (
	"context"
	"net/http"

	"github.com/coder/websocket"

	"github.com/hoorn-phone/hoorn/xmpp/xmltree"
)

// NewWebSocketPeer returns a Peer on a WebSocket (RFC 7395), whose opening handshake is r. In its scripts each line
// is a message, with all the namespaces that its elements need:
//
//	C: <open xmlns='urn:ietf:params:xml:ns:xmpp-framing' to='example.com' version='1.0'/>
//	S: <open xmlns='urn:ietf:params:xml:ns:xmpp-framing' from='example.com' id='1' version='1.0'/>
//	S: <stream:features xmlns:stream='http://etherx.jabber.org/streams'>…</stream:features>
//
// The handler that made it must not return before the script has ended.
func NewWebSocketPeer(w http.ResponseWriter, r *http.Request) (*Peer, error) {
	ws, err := websocket.Accept(w, r, &websocket.AcceptOptions{Subprotocols: []string{"xmpp"}})
	if err != nil {
		return nil, err
	}
	ws.SetReadLimit(1 << 20)
	return &Peer{ws: ws, Vars: make(map[string]string)}, nil
}

// message reads a message, which is one element.
func (p *Peer) message() (*xmltree.Element, error) {
	_, b, err := p.ws.Read(p.ctx)
	if err != nil {
		return nil, err
	}
	return new(xmltree.Parser).Parse(b)
}

// stepWS is step for a WebSocket, where there is no stream around elements and no TLS of its own.
func (p *Peer) stepWS(text string) (done bool, err error) {
	switch text {
	case "CUT":
		p.ws.CloseNow() // the client may have been first
		return true, nil
	case "END":
		for {
			if _, err := p.message(); err != nil {
				return true, nil
			}
		}
	}
	return false, nil
}

// write sends bytes that are whole elements.
func (p *Peer) write(b []byte) error {
	if p.ws != nil {
		return p.ws.Write(p.ctx, websocket.MessageText, b)
	}
	_, err := p.conn.Write(b)
	return err
}

// limit ends what waits when ctx ends.
func (p *Peer) limit(ctx context.Context) (stop func() bool) {
	p.ctx = ctx
	if p.ws != nil {
		return func() bool { return true } // its methods take ctx
	}
	return context.AfterFunc(ctx, p.expire)
}
