// Package avatar has the pictures of people: in nodes of theirs (XEP-0084), or in vCards that presence points
// to (XEP-0153), which many servers keep in step (XEP-0398).
package avatar

import (
	"context"
	"crypto/sha1"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"strconv"
	"strings"

	"mellium.im/xmpp/jid"

	"github.com/hoorn-phone/hoorn/xmpp"
	"github.com/hoorn-phone/hoorn/xmpp/pubsub"
	"github.com/hoorn-phone/hoorn/xmpp/vcard"
	"github.com/hoorn-phone/hoorn/xmpp/xmltree"
)

// Namespaces of avatars; the first two name nodes.
const (
	NSData     = "urn:xmpp:avatar:data"
	NSMetadata = "urn:xmpp:avatar:metadata"
	NSUpdate   = "vcard-temp:x:update"             // XEP-0153
	NSConvert  = "urn:xmpp:pep-vcard-conversion:0" // XEP-0398
)

// maxInfos bounds the forms of one picture.
const maxInfos = 20

var (
	// ErrPicture says that a picture is not the one that was announced.
	ErrPicture = errors.New("avatar: not the picture that was announced")
	// ErrMetadata says that an element does not describe pictures.
	ErrMetadata = errors.New("avatar: not metadata")
)

// Info describes a picture (XEP-0084 §4.2).
type Info struct {
	ID            string // SHA-1 of the picture, in hexadecimal
	Type          string // such as "image/png"
	Bytes         int
	Width, Height int    // in pixels; zero is unknown
	URL           string // where it is if not in the node; "" otherwise
}

// Parse reads the forms in which a picture is there; none if it was taken away.
func Parse(e *xmltree.Element) ([]Info, error) {
	if !e.Is(NSMetadata, "metadata") {
		return nil, ErrMetadata
	}
	var all []Info
	for c := range e.Named(NSMetadata, "info") {
		i := Info{ID: strings.ToLower(c.Get("id")), Type: strings.Clone(c.Get("type")), Bytes: number(c, "bytes"), Width: number(c, "width"), Height: number(c, "height"), URL: strings.Clone(c.Get("url"))}
		if id, err := hex.DecodeString(i.ID); err != nil || len(id) != sha1.Size || len(all) == maxInfos {
			continue
		}
		all = append(all, i)
	}
	return all, nil
}

func number(e *xmltree.Element, attr string) int {
	n, err := strconv.ParseUint(e.Get(attr), 10, 31)
	if err != nil {
		return 0
	}
	return int(n)
}

// Element is the metadata of a picture as it goes over the wire; without infos it takes the picture away.
func Element(infos ...Info) *xmltree.Element {
	e := xmltree.New(NSMetadata, "metadata")
	for _, i := range infos {
		c := xmltree.New(NSMetadata, "info").Set("id", i.ID).Set("type", i.Type).Set("url", i.URL).Set("bytes", strconv.Itoa(i.Bytes))
		if i.Width > 0 {
			c.Set("width", strconv.Itoa(i.Width))
		}
		if i.Height > 0 {
			c.Set("height", strconv.Itoa(i.Height))
		}
		e.Add(c)
	}
	return e
}

// ID is what names a picture.
func ID(data []byte) string {
	sum := sha1.Sum(data)
	return hex.EncodeToString(sum[:])
}

// Publish shows our contacts a picture (XEP-0084 §3.1, §3.2). typ should be "image/png", which all can show; it should
// be small (8 KB, 64 to 96 pixels wide): many fetch it. width and height may be zero.
func Publish(ctx context.Context, c *xmpp.Client, data []byte, typ string, width, height int) error {
	id := ID(data)
	text := xmltree.NewText(NSData, "data", base64.StdEncoding.EncodeToString(data))
	if _, err := pubsub.Publish(ctx, c, jid.JID{}, NSData, pubsub.Item{ID: id, Payload: text}); err != nil {
		return err
	}
	info := Info{ID: id, Type: typ, Bytes: len(data), Width: width, Height: height}
	_, err := pubsub.Publish(ctx, c, jid.JID{}, NSMetadata, pubsub.Item{ID: id, Payload: Element(info)})
	return err
}

// Remove takes our picture away (XEP-0084 §3.5).
func Remove(ctx context.Context, c *xmpp.Client) error {
	_, err := pubsub.Publish(ctx, c, jid.JID{}, NSMetadata, pubsub.Item{ID: "current", Payload: Element()})
	return err
}

// Get asks which picture a bare address has, in which forms. It is pubsub.ErrNoItem if there is none.
func Get(ctx context.Context, c *xmpp.Client, of jid.JID) ([]Info, error) {
	i, err := pubsub.Last(ctx, c, of, NSMetadata)
	if err != nil {
		return nil, err
	}
	return Parse(i.Payload)
}

// Fetch asks for a picture (XEP-0084 §3.4) and checks that it is the one that was announced. One with a URL is to be fetched from there.
func Fetch(ctx context.Context, c *xmpp.Client, of jid.JID, info Info) ([]byte, error) {
	all, err := pubsub.Get(ctx, c, of, NSData, info.ID)
	if err != nil {
		return nil, err
	}
	if len(all) != 1 || !all[0].Payload.Is(NSData, "data") {
		return nil, pubsub.ErrNoItem
	}
	data, err := base64.StdEncoding.DecodeString(strings.Join(strings.Fields(all[0].Payload.Text()), ""))
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrPicture, err)
	}
	if ID(data) != info.ID {
		return nil, ErrPicture
	}
	return data, nil
}

// Listen calls changed when somebody has another picture; without infos it has none any more. from is a bare address; the zero
// JID is our own. It must be called before the client connects, and changed must not wait for the network.
func Listen(c *xmpp.Client, changed func(from jid.JID, infos []Info)) error {
	return pubsub.Listen(c, pubsub.Listener{Node: NSMetadata, Notify: true, Event: func(ev *pubsub.Event) {
		switch {
		case len(ev.Items) > 0:
			if infos, err := Parse(ev.Items[0].Payload); err == nil {
				changed(ev.From, infos)
			}
		case len(ev.Retracted) > 0 || ev.Purged || ev.Deleted:
			changed(ev.From, nil)
		}
	}})
}

// Hash tells which picture is in the vCard of who sent a presence (XEP-0153 §3): "" is none. ok is false if it does not tell.
func Hash(p *xmpp.Presence) (id string, ok bool) {
	photo := p.Child(NSUpdate, "x").Child(NSUpdate, "photo")
	if photo == nil { // not ready to tell, or another thing (§3.2)
		return "", false
	}
	id = strings.ToLower(photo.Text())
	if raw, err := hex.DecodeString(id); err != nil || len(raw) != sha1.Size && len(raw) != 0 {
		return "", false
	}
	return id, true
}

// Update is what goes into our presence, to tell which picture is in our vCard (XEP-0153 §3.1); "" is none. Where Converts is true the server adds it.
func Update(id string) *xmltree.Element {
	return xmltree.New(NSUpdate, "x", xmltree.NewText(NSUpdate, "photo", id))
}

// FetchVCard asks for the picture in a vCard and checks that it is the one that a presence has told: see Hash. It also serves for occupants of rooms.
func FetchVCard(ctx context.Context, c *xmpp.Client, of jid.JID, id string) (*vcard.Photo, error) {
	card, err := vcard.GetTemp(ctx, c, of)
	if err != nil {
		return nil, err
	}
	if card.Photo == nil {
		return nil, pubsub.ErrNoItem
	}
	if ID(card.Photo.Data) != id {
		return nil, ErrPicture
	}
	return card.Photo, nil
}

// Converts tells whether our server keeps the picture in the node and the one in the vCard in step (XEP-0398).
func Converts(ctx context.Context, c *xmpp.Client) (bool, error) {
	info, err := c.Info(ctx, c.Account(), "")
	return info.Has(NSConvert), err
}
