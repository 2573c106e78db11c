package vcard

import (
	"errors"
	"reflect"
	"testing"
	"testing/synctest"

	"mellium.im/xmpp/jid"

	"github.com/hoorn-phone/hoorn/internal/xmppstage"
	"github.com/hoorn-phone/hoorn/xmpp/pubsub"
	"github.com/hoorn-phone/hoorn/xmpp/xmltree"
)

// XEP-0054 §3.1, example 2, and XEP-0292 §3.1, example 2; shortened.
const (
	temp = `<vCard xmlns='vcard-temp'><FN>Peter Saint-Andre</FN><N><FAMILY>Saint-Andre</FAMILY><GIVEN>Peter</GIVEN><MIDDLE/></N><NICKNAME>stpeter</NICKNAME><URL>http://www.xmpp.org/xsf/people/stpeter.shtml</URL>` +
		`<BDAY>1966-08-06</BDAY><ORG><ORGNAME>XMPP Standards Foundation</ORGNAME><ORGUNIT/></ORG><TITLE>Executive Director</TITLE><ROLE>Patron Saint</ROLE><TEL><WORK/><VOICE/><NUMBER>303-308-3282</NUMBER></TEL>` +
		`<EMAIL><INTERNET/><PREF/><USERID>stpeter@jabber.org</USERID></EMAIL><JABBERID>stpeter@jabber.org</JABBERID><DESC>More.</DESC><PHOTO><TYPE>image/png</TYPE><BINVAL>
 aGVs
 bG8=</BINVAL></PHOTO></vCard>`
	four = `<vcard xmlns='urn:ietf:params:xml:ns:vcard-4.0'><fn><text>Peter Saint-Andre</text></fn><n><surname>Saint-Andre</surname><given>Peter</given></n><nickname><text>stpeter</text></nickname>` +
		`<bday><date>1966-08-06</date></bday><tel><parameters><type><text>work</text></type></parameters><uri>tel:+1-303-308-3282</uri></tel><email><text>stpeter@jabber.org</text></email></vcard>`
)

func parse(t *testing.T, xml string) *Card {
	t.Helper()
	e, err := xmltree.Parse([]byte(xml))
	if err != nil {
		t.Fatal(err)
	}
	c, err := Parse(e)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func TestExamples(t *testing.T) {
	c := parse(t, temp)
	if len(c.Other) != 2 {
		t.Errorf("other: %v", c.Other)
	}
	again := parse(t, c.TempElement().String())
	if !reflect.DeepEqual(again, c) {
		t.Errorf("%+v became %+v", c, again)
	}
	c.Other = nil
	want := &Card{FullName: "Peter Saint-Andre", Nickname: "stpeter", Emails: []string{"stpeter@jabber.org"}, Phones: []string{"303-308-3282"}, URLs: []string{"http://www.xmpp.org/xsf/people/stpeter.shtml"},
		Organization: "XMPP Standards Foundation", Title: "Executive Director", Role: "Patron Saint", Note: "More.", Birthday: "1966-08-06", Photo: &Photo{"image/png", []byte("hello")}}
	if !reflect.DeepEqual(c, want) {
		t.Errorf("vcard-temp: %+v", c)
	}
	c.Photo, want.Photo = nil, nil
	if again := parse(t, c.Element().String()); !reflect.DeepEqual(again, want) {
		t.Errorf("from one form to the other: %+v", again)
	}
	c = parse(t, four)
	if c.FullName != "Peter Saint-Andre" || c.Phones[0] != "tel:+1-303-308-3282" || c.Birthday != "1966-08-06" || len(c.Other) != 1 {
		t.Errorf("vCard4: %+v", c)
	}
	if _, err := Parse(xmltree.New("x", "vcard")); err != ErrCard {
		t.Errorf("another element: %v", err)
	}
}

// XEP-0292 §3: the node first, then XEP-0054.
func TestGet(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		xmppstage.Run(t, nil, "", func(s *xmppstage.Stage) {
			const ask = `C: <iq type='get' to='stpeter@jabber.org' id='{1}'><pubsub xmlns='http://jabber.org/protocol/pubsub'><items node='urn:xmpp:vcard4' max_items='1'/></pubsub></iq>
S: <iq type='error' from='stpeter@jabber.org' id='{1}'><error type='cancel'><service-unavailable xmlns='urn:ietf:params:xml:ns:xmpp-stanzas'/></error></iq>
C: <iq type='get' to='stpeter@jabber.org' id='{2}'><vCard xmlns='vcard-temp'/></iq>
S: <iq type='result' from='stpeter@jabber.org' id='{2}'>` + temp + `</iq>`
			of := jid.MustParse("stpeter@jabber.org")
			c, err := xmppstage.During(s, ask, func() (*Card, error) { return Get(s.Context(), s.Client, of) })
			if err != nil || c.FullName != "Peter Saint-Andre" {
				s.Errorf("%+v, %v", c, err)
			}
			_, err = xmppstage.During(s, `C: <iq type='get' to='stpeter@jabber.org' id='{3}'><vCard xmlns='vcard-temp'/></iq>
S: <iq type='error' from='stpeter@jabber.org' id='{3}'><error type='cancel'><item-not-found xmlns='urn:ietf:params:xml:ns:xmpp-stanzas'/></error></iq>`,
				func() (*Card, error) { return GetTemp(s.Context(), s.Client, of) })
			if !errors.Is(err, pubsub.ErrNoItem) {
				s.Errorf("without one: %v", err)
			}
		})
	})
}

func FuzzParse(f *testing.F) {
	f.Add(temp)
	f.Add(four)
	f.Fuzz(func(t *testing.T, xml string) {
		e, err := xmltree.Parse([]byte(xml))
		if err != nil {
			return
		}
		c, err := Parse(e)
		if err != nil {
			return
		}
		c.Other, c.Photo = nil, nil
		if again, err := Parse(c.TempElement()); err != nil || !reflect.DeepEqual(again, c) {
			t.Errorf("%+v became %+v, %v", c, again, err)
		}
	})
}
