// Package caps knows what others' clients can do without asking each of them: their
// presence names a version, and who has the same can do the same (XEP-0115).
package caps

import (
	"container/list"
	"context"
	"strings"
	"sync"

	"mellium.im/xmpp/jid"
	"mellium.im/xmpp/stanza"

	"github.com/hoorn-phone/hoorn/xmpp"
	"github.com/hoorn-phone/hoorn/xmpp/xmltree"
)

// NS is the namespace of entity capabilities.
const NS = "http://jabber.org/protocol/caps"

// Bounds of what is remembered.
const (
	maxVersions = 1000  // of programs; the one unused for longest is forgotten
	maxEntities = 20000 // who is available; what exceeds them is asked anew each time
)

// Version is what a presence tells (§4).
type Version struct {
	Node string // the program
	Ver  string // the hash of what it can do
	Hash string // the hash function, such as "sha-1"
}

// Parse reads what a presence tells. ok is false if it tells nothing that can be verified.
func Parse(e *xmltree.Element) (v Version, ok bool) {
	v = Version{strings.Clone(e.Get("node")), strings.Clone(e.Get("ver")), strings.Clone(e.Get("hash"))}
	if !e.Is(NS, "c") || v.Ver == "" || len(v.Ver) > 256 || len(v.Node) > 1024 || hashes[v.Hash] == nil {
		return Version{}, false
	}
	return v, true
}

// Cache knows what others can do. It is safe for concurrent use.
type Cache struct {
	c *xmpp.Client

	mu       sync.Mutex
	entities map[string]Version // by full address
	versions map[key]*list.Element
	recent   list.List // of *known, the one used last first
}

// key names what is verified by its hash: the node may lie.
type key struct{ hash, ver string }

type known struct {
	key  key
	info *xmpp.Info
}

// New makes a cache that follows the presence that a client, which must not be connected yet, receives.
func New(c *xmpp.Client) (*Cache, error) {
	k := &Cache{c: c, entities: make(map[string]Version), versions: make(map[key]*list.Element)}
	err := c.Use(&xmpp.Extension{Name: "caps", Presence: k.presence, Bound: func(context.Context) error {
		k.mu.Lock()
		defer k.mu.Unlock()
		clear(k.entities) // who is there is told anew
		return nil
	}})
	if err != nil {
		return nil, err
	}
	return k, nil
}

// presence looks at each presence and leaves it to others.
func (k *Cache) presence(p *xmpp.Presence) bool {
	from := p.From.String()
	k.mu.Lock()
	defer k.mu.Unlock()
	switch v, ok := Parse(p.Child(NS, "c")); {
	case p.Type == stanza.AvailablePresence && ok:
		if _, there := k.entities[from]; there || len(k.entities) < maxEntities {
			k.entities[from] = v
		}
	case p.Type == stanza.AvailablePresence || p.Type == stanza.UnavailablePresence:
		delete(k.entities, from)
	}
	return false
}

// Features tells what the client at a full address can do. It asks only who tells a version that nobody has told before, or
// none, or one that it does not live up to (§5.4): the answer then is that client's alone and not remembered. The result is shared and must not be changed.
func (k *Cache) Features(ctx context.Context, full jid.JID) (*xmpp.Info, error) {
	k.mu.Lock()
	v, told := k.entities[full.String()]
	info := k.get(key{v.Hash, v.Ver})
	k.mu.Unlock()
	if info != nil {
		return info, nil
	}
	if !told {
		return k.c.Info(ctx, full, "")
	}
	info, err := k.c.Info(ctx, full, v.Node+"#"+v.Ver) // §6.2
	if err != nil {
		return nil, err
	}
	if ver, ok := Hash(info, v.Hash); !ok || ver != v.Ver {
		k.c.Logger().Info("caps: somebody is not what its version says", "who", full.String())
		return info, nil
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	k.put(key{v.Hash, v.Ver}, info)
	return info, nil
}

// get returns what is known of a version; k.mu is held.
func (k *Cache) get(of key) *xmpp.Info {
	e := k.versions[of]
	if e == nil {
		return nil
	}
	k.recent.MoveToFront(e)
	return e.Value.(*known).info
}

// put remembers a version; k.mu is held.
func (k *Cache) put(of key, info *xmpp.Info) {
	if k.versions[of] != nil {
		return
	}
	k.versions[of] = k.recent.PushFront(&known{of, info})
	if k.recent.Len() > maxVersions {
		oldest := k.recent.Back()
		k.recent.Remove(oldest)
		delete(k.versions, oldest.Value.(*known).key)
	}
}
