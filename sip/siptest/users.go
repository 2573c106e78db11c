package siptest

import (
	"errors"
	"fmt"
	"strings"
	"sync"

	"github.com/hoorn-phone/hoorn/internal/digest"
	"github.com/hoorn-phone/hoorn/internal/sipwire"
)

// directory knows the users. It is safe for concurrent use.
type directory struct {
	mu     sync.Mutex
	byName map[string]*User // by Name and by Number
	byAuth map[string]*User
}

var errNoUser = errors.New("siptest: no such user")

func (d *directory) add(u User) (*User, error) {
	if u.AuthName == "" {
		u.AuthName = u.Name
	}
	if !sipwire.IsToken(u.Name) {
		return nil, fmt.Errorf("siptest: User.Name %q cannot stand in a URI", u.Name)
	}
	if u.Number != "" && strings.Trim(u.Number, "+*#0123456789") != "" {
		return nil, fmt.Errorf("siptest: User.Number %q is not a number", u.Number)
	}
	box, err := newMailbox(u.Voicemail)
	if err != nil {
		return nil, err
	}
	u.state = &subscriber{box: box}
	u.state.settings.VoicemailBusy, u.state.settings.VoicemailNoAnswer = box != nil, box != nil
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.byName == nil {
		d.byName, d.byAuth = make(map[string]*User), make(map[string]*User)
	}
	if d.byName[u.Name] != nil || d.byName[u.Number] != nil || d.byAuth[u.AuthName] != nil {
		return nil, fmt.Errorf("siptest: user %q: name, number or AuthName is taken", u.Name)
	}
	d.byName[u.Name], d.byAuth[u.AuthName] = &u, &u
	if u.Number != "" {
		d.byName[u.Number] = &u
	}
	return &u, nil
}

// find finds a user by name or number as it stands in a URI.
func (d *directory) find(name string) *User {
	d.mu.Lock()
	defer d.mu.Unlock()
	if u := d.byName[name]; u != nil {
		return u
	}
	return d.byName[plainNumber(name)]
}

// credential is what digest authentication checks against.
func (d *directory) credential(authName string, _ digest.Algorithm) (digest.Credential, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	u := d.byAuth[authName]
	if u == nil {
		return digest.Credential{}, errNoUser
	}
	return digest.Credential{Username: u.AuthName, Password: u.Password}, nil
}

func (d *directory) authenticated(authName string) *User {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.byAuth[authName]
}

// plainNumber takes the visual separators out of a number (RFC 3966 §5.1.1)
// and parameters off its end. A # comes escaped: it may not stand in the user
// part of a URI (RFC 3261 §25.1).
func plainNumber(s string) string {
	s, _, _ = strings.Cut(s, ";")
	s = strings.ReplaceAll(s, "%23", "#")
	return strings.Map(func(r rune) rune {
		if strings.ContainsRune("-.() ", r) {
			return -1
		}
		return r
	}, s)
}

// shown is the user part under which others know the user.
func (u *User) shown() string {
	if u.Number != "" {
		return u.Number
	}
	return u.Name
}
