package xmpp

import (
	"context"
	"errors"
	"log/slog"
	"slices"

	"mellium.im/xmpp/jid"
	"mellium.im/xmpp/stanza"

	"github.com/hoorn-phone/hoorn/xmpp/xmltree"
)

// Extension is what a protocol extension adds to a client. All fields but Name
// may be zero. Message, Presence, Resumed and Lost are called by the goroutine that
// reads the stream, in the order of the wire: they must not wait for the network.
type Extension struct {
	// Name is for logs and errors, such as "carbons".
	Name string
	// Features are announced by service discovery (XEP-0030) and in presence (XEP-0115).
	Features []string

	// IQ handles requests by type and payload. It runs beside the reader and may wait.
	IQ map[IQName]IQHandler
	// Message looks at each message before the user does; true takes it away.
	Message func(*Message) bool
	// Presence looks at each presence; true takes it away.
	Presence func(*Presence) bool

	// Inline is asked for while the session is made, where the server can do both at
	// once (XEP-0386): an element such as <enable xmlns='urn:xmpp:carbons:2'/>, of whose namespace the server says that it knows it.
	// Client.Inlined tells Bound whether that was so. Nil asks for nothing.
	Inline *xmltree.Element
	// Bound is called when a new session begins, before the client sends
	// presence; one extension after the other. It may ask the server. An error
	// is logged, and the client goes on without the extension's service.
	Bound func(ctx context.Context) error
	// Resumed is called when the old session goes on on a new stream: nothing was lost.
	Resumed func()
	// Lost is called when the stream has ended. It may be resumed.
	Lost func(err error)
}

// IQName names a request.
type IQName struct {
	Type         stanza.IQType // GetIQ or SetIQ
	Space, Local string        // of its payload
}

// IQHandler answers a request with the payload of a result, which may be nil.
// An error that is a stanza.Error is the answer as it is; any other is logged
// and becomes internal-server-error.
type IQHandler func(ctx context.Context, iq *IQ) (*xmltree.Element, error)

// ErrStarted says that an extension came too late: the server was told already what this client can do.
var ErrStarted = errors.New("xmpp: the client has started")

// Use adds an extension. It must be called before Connect; afterwards it is ErrStarted.
func (c *Client) Use(x *Extension) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.started {
		return ErrStarted
	}
	for name, h := range x.IQ {
		if c.handlers[name] != nil {
			return errors.New("xmpp: " + x.Name + ": somebody else handles {" + name.Space + "}" + name.Local)
		}
		c.handlers[name] = h
	}
	c.extensions = append(c.extensions, x)
	if x.Inline != nil {
		c.inline = append(c.inline, x.Inline)
	}
	return nil
}

// Inlined tells whether an extension's Inline, by its namespace, was taken when the present session was made.
func (c *Client) Inlined(space string) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return slices.Contains(c.inlined, space)
}

// Logger is where the client logs, for its extensions; never nil.
func (c *Client) Logger() *slog.Logger { return c.log }

// FromOwn tells whether a stanza from an address speaks for our own account: it has none, or the bare one. The
// server puts it there, and nobody else can (RFC 6120 §8.1.2.1).
func (c *Client) FromOwn(from jid.JID) bool {
	return from.Domainpart() == "" || from.Equal(c.Account())
}
