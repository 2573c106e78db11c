package siptest

import (
	"fmt"
	"net/netip"
	"slices"
	"sync"
	"time"

	sipgo "github.com/emiago/sipgo/sip"

	"github.com/hoorn-phone/hoorn/internal/sipwire"
	"github.com/hoorn-phone/hoorn/internal/transport"
	"github.com/hoorn-phone/hoorn/sip"
)

// maxBindings bounds the devices of one user.
const maxBindings = 32

// location knows where users are (RFC 3261 §10). It is safe for concurrent
// use, and outlives the lab's lives.
type location struct {
	mu       sync.Mutex
	bindings map[*User][]*binding // in the order of their latest registration
	byPlace  map[place][]*binding // the same
	labels   map[place]string     // who was where, for transcripts
	devices  map[*User][]string   // their keys, in the order they came
}

// place is where a device sends from.
type place struct {
	proto  transport.Proto
	remote netip.AddrPort
}

func placeOf(f *transport.Flow) place { return place{f.Proto(), f.Remote()} }

// binding is one Contact of a user. It is not changed once it is in the
// location, but replaced.
type binding struct {
	user     *User
	contact  sipgo.Uri
	params   sipgo.HeaderParams // of the Contact, but for expires
	key      string             // tells the devices of a user apart
	instance string             // +sip.instance without quotes and brackets
	regID    string             // with outbound; "" without
	callID   string
	cseq     uint32
	expires  time.Time
	path     []string
	temp     []string // user parts of the temporary GRUUs given so far
	place    place
	flow     *transport.Flow // nil: gone, or not since a restart
}

// live tells whether the device can be reached.
func (b *binding) live(now time.Time) bool {
	return b.expires.After(now) && b.flow != nil && b.flow.Err() == nil
}

// deviceKey tells which binding a Contact belongs to: by instance and reg-id
// with outbound (RFC 5626 §6), else by its URI.
func deviceKey(contact *sipgo.Uri, instance, regID string) string {
	if instance != "" && regID != "" {
		return instance + " " + regID
	}
	return sipwire.FormatURI(contact)
}

// of returns a user's bindings that have not expired.
func (l *location) of(u *User, now time.Time) []*binding {
	l.mu.Lock()
	defer l.mu.Unlock()
	bs := slices.Clone(l.bindings[u])
	left := slices.DeleteFunc(bs, func(b *binding) bool { return !b.expires.After(now) })
	if len(left) < len(l.bindings[u]) {
		l.replace(u, slices.Clone(left))
	}
	return left
}

// set makes bs what a user has.
func (l *location) set(u *User, bs []*binding) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.replace(u, bs)
	for _, b := range bs {
		l.label(b.place, u, b.device())
	}
}

// replace changes both maps. The caller holds mu, and leaves bs to it.
func (l *location) replace(u *User, bs []*binding) {
	if l.bindings == nil {
		l.bindings, l.byPlace = make(map[*User][]*binding), make(map[place][]*binding)
	}
	for _, b := range l.bindings[u] {
		at := slices.DeleteFunc(l.byPlace[b.place], func(x *binding) bool { return x == b })
		if l.byPlace[b.place] = at; len(at) == 0 {
			delete(l.byPlace, b.place)
		}
	}
	if l.bindings[u] = bs; len(bs) == 0 {
		delete(l.bindings, u)
	}
	for _, b := range bs {
		l.byPlace[b.place] = append(l.byPlace[b.place], b)
	}
}

// device is what stays the same when a device comes back from elsewhere.
func (b *binding) device() string {
	if b.instance != "" {
		return b.instance
	}
	return b.key
}

// maxLabels bounds the places remembered for transcripts.
const maxLabels = 1 << 16

// label notes who is at a place: the user's name, with a number from his
// second device on. The caller holds mu.
func (l *location) label(p place, u *User, device string) {
	if l.labels == nil {
		l.labels, l.devices = make(map[place]string), make(map[*User][]string)
	}
	if len(l.labels) >= maxLabels {
		clear(l.labels)
	}
	i := slices.Index(l.devices[u], device)
	if i < 0 {
		if len(l.devices[u]) >= maxLabels {
			l.devices[u] = nil
		}
		i = len(l.devices[u])
		l.devices[u] = append(l.devices[u], device)
	}
	l.labels[p] = u.Name
	if i > 0 {
		l.labels[p] = fmt.Sprintf("%s#%d", u.Name, i+1)
	}
}

// whoIs is the label of a place, "" if nobody registered from there.
func (l *location) whoIs(p place) string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.labels[p]
}

// at finds the binding whose device is on a flow.
func (l *location) at(f *transport.Flow, now time.Time) *binding {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, b := range l.byPlace[placeOf(f)] {
		if b.expires.After(now) {
			return b
		}
	}
	return nil
}

// again finds a binding as it is now.
func (l *location) again(old *binding, now time.Time) *binding {
	for _, b := range l.of(old.user, now) {
		if b.key == old.key {
			return b
		}
	}
	return nil
}

// lost takes the end of a connection. A binding with outbound ends with its
// flow (RFC 5626 §6); any other stays, and is not reached.
func (l *location) lost(f *transport.Flow) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, at := range slices.Clone(l.byPlace[placeOf(f)]) {
		if at.flow == f && at.regID != "" {
			l.replace(at.user, slices.DeleteFunc(slices.Clone(l.bindings[at.user]), func(b *binding) bool { return b == at }))
		}
	}
}

// unplug forgets the connections, which a crash has ended.
func (l *location) unplug() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.each(func(b *binding) { b.flow = nil })
}

// each changes every binding. The caller holds mu.
func (l *location) each(change func(b *binding)) {
	for u, bs := range l.bindings {
		changed := make([]*binding, len(bs))
		for i, b := range bs {
			c := *b
			change(&c)
			changed[i] = &c
		}
		l.replace(u, changed)
	}
}

// replug finds those devices again that need no connection. It is for a new
// life, whose socket is given.
func (l *location) replug(socket *transport.Socket) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.each(func(b *binding) {
		if b.flow == nil && b.place.proto == transport.UDP {
			b.flow = socket.Flow(b.place.remote)
		}
	})
}

func (l *location) clear() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.bindings, l.byPlace = nil, nil
}

// Device is one registered Contact of a user.
type Device struct {
	// Contact is the URI that was registered.
	Contact string
	// Instance is its +sip.instance, "" if it gave none.
	Instance string
	// Outbound says that it uses RFC 5626.
	Outbound bool
	// Expires is when the registration ends.
	Expires time.Time
	// Transport and Remote are where it is.
	Transport sip.Transport
	Remote    netip.AddrPort
	// Reachable says that its connection stands.
	Reachable bool
}

// Devices are a user's registered devices, the latest last; none if there is
// no such user.
func (s *Server) Devices(user string) []Device {
	u := s.users.find(user)
	if u == nil {
		return nil
	}
	now := time.Now()
	var ds []Device
	for _, b := range s.loc.of(u, now) {
		ds = append(ds, Device{
			Contact: sipwire.FormatURI(&b.contact), Instance: b.instance, Outbound: b.regID != "",
			Expires: b.expires, Transport: sip.Transport(b.place.proto), Remote: b.place.remote,
			Reachable: b.live(now),
		})
	}
	return ds
}

// Unregister removes a user's registrations, as an administrator would. The
// devices are not told.
func (s *Server) Unregister(user string) {
	if u := s.users.find(user); u != nil {
		s.loc.set(u, nil)
	}
}
