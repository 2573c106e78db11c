package xmpplink

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/hoorn-phone/hoorn/internal/sasl"
	"github.com/hoorn-phone/hoorn/xmpp/xmltree"
)

const (
	nsSASL2 = "urn:xmpp:sasl:2" // XEP-0388
	nsBind2 = "urn:xmpp:bind:0" // XEP-0386
)

// Agent is who a client is among those of an account (XEP-0388). Only the server sees it.
type Agent struct {
	// ID is a UUID of version 4, the same whenever this client signs in. "" leaves the agent out.
	ID       string
	Software string // such as the name of the program; "" leaves it out
	Device   string // such as "Phone of Alice"; "" leaves it out
}

func (a *Agent) element() *xmltree.Element {
	e := xmltree.New(nsSASL2, "user-agent").Set("id", a.ID)
	if a.Software != "" {
		e.Add(xmltree.NewText(nsSASL2, "software", a.Software))
	}
	if a.Device != "" {
		e.Add(xmltree.NewText(nsSASL2, "device", a.Device))
	}
	return e
}

// TasksError says that the server wants more than the credentials: a second factor, or another password.
type TasksError struct {
	Tasks []string // any one of them, by the names of XEP-0388
	Text  string   // for people; may be empty
}

func (e *TasksError) Error() string {
	s := fmt.Sprintf("the server wants one of the tasks %.200q", strings.Join(e.Tasks, " "))
	if e.Text != "" {
		s += fmt.Sprintf(" (%.200q)", e.Text)
	}
	return s
}

func tasks(e *xmltree.Element) *TasksError {
	return &TasksError{Tasks: texts(e.Child(nsSASL2, "tasks"), nsSASL2, "task"), Text: e.Child(nsSASL2, "text").Text()}
}

// begin opens a stream under TLS. If there is a token, and it is known what the server can do with it, the
// login goes along with the header: header, login and session in one round trip. Without a
// stream and without an error the way goes on with the features.
func (n *negotiation) begin(ctx context.Context) (*Stream, error) {
	known := n.cfg.Memory.known()
	m := n.tokenLogin(ctx, known)
	if m == nil {
		return nil, at(StageOpen, n.open(nil))
	}
	auth, err := n.request(m, known, n.token)
	if err != nil {
		return nil, at(StageAuth, err)
	}
	if err := n.open(auth); err != nil {
		n.cfg.Memory.learn(nil) // whatever it was, the next time the server speaks first
		return nil, at(StageOpen, err)
	}
	return n.withToken(ctx, m, known)
}

// sasl2 signs in by SASL2 (XEP-0388), if the server offers what is good enough. Else there is neither a stream nor an error.
func (n *negotiation) sasl2(ctx context.Context) (*Stream, error) {
	offer := n.features.Child(nsSASL2, "authentication")
	if offer == nil {
		return nil, nil
	}
	inline := offer.Child(nsSASL2, "inline")
	if m := n.tokenLogin(ctx, inline); m != nil {
		auth, err := n.request(m, inline, n.token)
		if err == nil {
			err = n.send(auth)
		}
		if err != nil {
			return nil, at(StageAuth, err)
		}
		if s, err := n.withToken(ctx, m, inline); s != nil || err != nil {
			return s, err
		}
	}
	var success *xmltree.Element
	wanted := n.wantToken(inline)
	err := n.signIn(texts(offer, nsSASL2, "mechanism"), func(m sasl.Mechanism) error {
		auth, err := n.request(m, inline, &Token{Mechanism: wanted})
		if err != nil {
			return &abortError{err}
		}
		if err := n.send(auth); err != nil {
			return err
		}
		success, err = n.converse(m, nsSASL2)
		return err
	})
	if err != nil {
		var none *sasl.NoMechanismError
		if (errors.As(err, &none) || errors.Is(err, sasl.ErrDowngrade)) && success == nil && n.features.Child(nsSASL, "mechanisms") != nil {
			return nil, nil // what SASL of old offers is held against the same memory
		}
		return nil, at(StageAuth, err)
	}
	n.keepToken(ctx, success, wanted, inline)
	return n.welcome(success)
}

// request is the wish to sign in (XEP-0388), with all that can be done at once: to go on with a session, or else to
// have a new one with what belongs to it (XEP-0386). A token with a secret is what m uses; one without is what we want to have.
func (n *negotiation) request(m sasl.Mechanism, inline *xmltree.Element, token *Token) (*xmltree.Element, error) {
	initial, err := m.Start()
	if err != nil {
		return nil, err
	}
	e := xmltree.New(nsSASL2, "authenticate").Set("mechanism", m.Name())
	e.Add(xmltree.NewText(nsSASL2, "initial-response", base64.StdEncoding.EncodeToString(initial)))
	if n.cfg.Agent.ID != "" {
		e.Add(n.cfg.Agent.element())
	}
	switch {
	case token.Secret != "":
		e.Add(xmltree.New(nsFast, "fast"))
	case token.Mechanism != "":
		e.Add(xmltree.New(nsFast, "request-token").Set("mechanism", token.Mechanism))
	}
	if n.session.Resumable() {
		if inline.Child(NSManagement, "sm") == nil || n.cfg.NoManagement {
			return e, nil // it can only be resumed as of old: no new one yet
		}
		e.Add(n.session.resumption())
	}
	if bind := inline.Child(nsBind2, "bind"); bind != nil {
		e.Add(n.bindRequest(bind))
	}
	return e, nil
}

// bindRequest is the wish for a session (XEP-0386).
func (n *negotiation) bindRequest(offer *xmltree.Element) *xmltree.Element {
	var features []string
	for f := range offer.Child(nsBind2, "inline").Named(nsBind2, "feature") {
		features = append(features, f.Get("var"))
	}
	e := xmltree.New(nsBind2, "bind")
	if n.cfg.Resource != "" {
		e.Add(xmltree.NewText(nsBind2, "tag", n.cfg.Resource))
	}
	if slices.Contains(features, NSManagement) && !n.cfg.NoManagement {
		e.Add(xmltree.New(NSManagement, "enable").Set("resume", "true"))
	}
	n.inlined = nil
	for _, x := range n.cfg.Inline {
		if slices.Contains(features, x.Name.Space) {
			e.Add(x.Clone())
			n.inlined = append(n.inlined, x.Name.Space)
		}
	}
	return e
}

// welcome takes what came with success. Features follow it (XEP-0388); after a resumption nobody waits for them.
func (n *negotiation) welcome(success *xmltree.Element) (*Stream, error) {
	var lost error
	if n.session.Resumable() {
		if e := success.Child(NSManagement, "resumed"); e != nil {
			s, err := n.resumed(e)
			return s, at(StageBind, err)
		}
		if e := success.Child(NSManagement, "failed"); e != nil {
			lost = n.session.refused(e)
			n.session.Abandon()
		}
	}
	bound := success.Child(nsBind2, "bound")
	if bound == nil {
		if err := n.offered(); err != nil {
			return nil, at(StageOpen, err)
		}
		s, err := n.bind()
		if err != nil {
			return nil, at(StageBind, err)
		}
		if s.Lost == nil {
			s.Lost = lost
		}
		return s, nil
	}
	if n.session.Resumable() {
		lost = errors.New("the server does not say what became of the session")
		n.session.Abandon()
	}
	address := success.Child(nsSASL2, "authorization-identifier").Text()
	if address == "" {
		address = success.Child(nsSASL2, "authorization-identity").Text() // as the examples of XEP-0386 have it
	}
	session, err := n.bound(address)
	if err != nil {
		return nil, at(StageBind, err)
	}
	if e := bound.Child(NSManagement, "enabled"); e != nil {
		session.enabled(e)
	}
	if err := n.offered(); err != nil {
		return nil, at(StageBind, err)
	}
	s := n.stream(session)
	s.Lost, s.Inlined = lost, n.inlined
	return s, nil
}
