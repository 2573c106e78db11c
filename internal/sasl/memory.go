package sasl

import (
	"crypto/tls"
	"slices"
	"sync"
)

const tls13 = tls.VersionTLS13

// Memory is how an account last signed in at a server, so that a way that is worse is not taken later: a weaker hash, no channel binding where there was one, or PLAIN after
// anything else. Only what worked counts, since only that is known to be the server's. A server whose offer is under the protection of XEP-0474 may come to
// offer less, as long as it says so itself. PLAIN stays out even then.
//
// It also knows which bindings failed while the password was right without them, and passes those over the next time, so that a server does not count
// a failure at every reconnect.
//
// Keep one for each account and each kind of connection: a proxy for WebSockets has other bindings than the server behind it. The zero value knows nothing; so does
// a nil *Memory, which cannot learn. It is safe for concurrent use.
type Memory struct {
	mu        sync.Mutex
	level     level
	broken    []Binding
	suspected []Binding // failed in the present try
}

// level is how good a way to sign in is.
type level struct {
	strong  bool // anything but PLAIN
	hash    Hash // of SCRAM
	bound   bool
	checked bool // XEP-0474
}

func (c Choice) level() level {
	return level{strong: c.Mechanism != plain, hash: c.hash, bound: c.Binding != ""}
}

// worse says whether c is a step down. EXTERNAL is none: it is another key to the same door.
func (l level) worse(c level) bool {
	if c.strong && c.hash == 0 {
		return false
	}
	return l.strong && !c.strong || c.hash < l.hash || l.bound && !c.bound
}

// Forget empties it, as when the user has decided that the server may be weaker.
func (m *Memory) Forget() {
	if m == nil {
		return
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	m.level, m.broken, m.suspected = level{}, nil, nil
}

// begin is the beginning of a series of tries.
func (m *Memory) begin() {
	if m == nil {
		return
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	m.suspected = nil
}

// working leaves out bindings known to fail.
func (m *Memory) working(list []Binding) []Binding {
	if m == nil {
		return list
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	return slices.DeleteFunc(slices.Clone(list), func(b Binding) bool { return slices.Contains(m.broken, b) })
}

// bound tells whether a channel binding has worked.
func (m *Memory) bound() bool {
	if m == nil {
		return false
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.level.bound
}

// filter leaves out choices that are worse than what worked before.
func (m *Memory) filter(list []Choice) ([]Choice, error) {
	if m == nil {
		return list, nil
	}
	m.mu.Lock()
	was := m.level
	m.mu.Unlock()
	const reason = "the server offers less than the account has used there"
	var same, less []Choice
	for _, c := range list {
		switch {
		case !was.worse(c.level()):
			same = append(same, c)
		case c.hash != 0:
			c.wantHash = reason + ", and does not vouch for it"
			less = append(less, c)
		}
	}
	scram := func(c Choice) bool { return c.hash != 0 }
	switch {
	case slices.ContainsFunc(same, scram):
		return same, nil // no need for anything worse
	case was.checked:
		same = append(same, less...)
	}
	if len(same) == 0 && len(list) > 0 {
		return nil, &DowngradeError{Reason: reason}
	}
	return same, nil
}

// suspect notes a binding that was refused.
func (m *Memory) suspect(b Binding) {
	if m == nil {
		return
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if !slices.Contains(m.suspected, b) {
		m.suspected = append(m.suspected, b)
	}
}

// succeeded notes how it went well. That the password is right now puts the blame for what failed before on the bindings.
func (m *Memory) succeeded(c Choice, checked bool) {
	if m == nil {
		return
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, b := range m.suspected {
		if b != c.Binding && !slices.Contains(m.broken, b) {
			m.broken = append(m.broken, b)
		}
	}
	m.suspected = nil
	if l := c.level(); l.hash != 0 {
		l.checked = checked
		m.level = l
	} else {
		m.level.strong = m.level.strong || l.strong
	}
}
