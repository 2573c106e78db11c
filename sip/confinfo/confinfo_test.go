package confinfo

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"reflect"
	"strings"
	"testing"
	"testing/quick"
	"time"

	"github.com/hoorn-phone/hoorn/internal/xmldoc"
)

const head = `<?xml version="1.0" encoding="UTF-8"?><conference-info xmlns="urn:ietf:params:xml:ns:conference-info" `

func ptr[T any](v T) *T { return &v }

// A conference with two users, in the shape of the example of RFC 4575 §6.1.
const twoUsers = head + `entity="sips:conf233@example.com" state="full" version="1">
  <conference-description>
   <subject>Agenda: This month's goals</subject>
   <service-uris>
     <entry><uri>http://sharepoint/salesgroup/</uri><purpose>web-page</purpose></entry>
   </service-uris>
  </conference-description>
  <conference-state>
   <user-count>33</user-count>
  </conference-state>
  <users>
   <user entity="sip:bob@example.com" state="full">
    <display-text>Bob Hoskins</display-text>
    <endpoint entity="sip:bob@pc33.example.com">
     <display-text>Bob's Laptop</display-text>
     <status>disconnected</status>
     <disconnection-method>departed</disconnection-method>
     <disconnection-info>
      <when>2005-03-04T20:00:00Z</when>
      <reason>bad voice quality</reason>
      <by>sip:mike@example.com</by>
     </disconnection-info>
    </endpoint>
   </user>
   <user entity="sip:alice@example.com" state="full">
    <display-text>Alice</display-text>
    <endpoint entity="sip:4kfk4j392jsu@example.com;grid=433kj4j3u">
     <status>connected</status>
     <joining-method>dialed-out</joining-method>
     <joining-info>
      <when>2005-03-04T20:00:00Z</when>
      <by>sip:mike@example.com</by>
     </joining-info>
     <media id="1">
      <display-text>main audio</display-text>
      <type>audio</type>
      <label>34567</label>
      <src-id>432424</src-id>
      <status>sendrecv</status>
     </media>
     <call-info><sip><call-id>hsjh8980vhsb78</call-id><from-tag>vav738dvbs</from-tag><to-tag>8954jgjg8432</to-tag></sip></call-info>
    </endpoint>
   </user>
  </users>
 </conference-info>`

func TestParse_RFC4575_6(t *testing.T) {
	d, err := Parse([]byte(twoUsers))
	if err != nil {
		t.Fatal(err)
	}
	at := time.Date(2005, 3, 4, 20, 0, 0, 0, time.UTC)
	want := &Document{
		Entity: "sips:conf233@example.com", Part: Full, Version: 1,
		Description: &Description{Subject: "Agenda: This month's goals"},
		Status:      &Status{UserCount: ptr(33)},
		Users: &Users{Part: Full, User: []User{
			{Entity: "sip:bob@example.com", Part: Full, DisplayText: "Bob Hoskins", Endpoints: []Endpoint{{
				Entity: "sip:bob@pc33.example.com", Part: Full, DisplayText: "Bob's Laptop", Status: Disconnected, Leaving: "departed",
				Left: &Action{When: at, Reason: "bad voice quality", By: "sip:mike@example.com"},
			}}},
			{Entity: "sip:alice@example.com", Part: Full, DisplayText: "Alice", Endpoints: []Endpoint{{
				Entity: "sip:4kfk4j392jsu@example.com;grid=433kj4j3u", Part: Full, Status: Connected, Joining: "dialed-out",
				Joined: &Action{When: at, By: "sip:mike@example.com"},
				Media:  []Media{{ID: "1", DisplayText: "main audio", Type: "audio", Label: "34567", SrcID: "432424", Status: "sendrecv"}},
				Call:   &DialogID{"hsjh8980vhsb78", "vav738dvbs", "8954jgjg8432"},
			}}},
		}},
	}
	if !reflect.DeepEqual(d, want) {
		t.Errorf("%+v\nwant %+v", d, want)
	}
}

func TestRefused(t *testing.T) {
	user := `<user entity="sip:%d@example.com"/>`
	many := func(n int) string {
		var b strings.Builder
		for i := range n {
			fmt.Fprintf(&b, user, i)
		}
		return b.String()
	}
	for _, c := range []struct{ name, doc string }{
		{"another document", `<dialog-info xmlns="urn:ietf:params:xml:ns:dialog-info"/>`},
		{"no entity", head + `version="1"/>`},
		{"a partial one without version", head + `entity="sip:c@example.com" state="partial"/>`},
		{"version that is no number", head + `entity="sip:c@example.com" version="x"/>`},
		{"a state that is none", head + `entity="sip:c@example.com" version="1" state="half"/>`},
		{"a user without entity", head + `entity="sip:c@example.com" version="1"><users><user/></users></conference-info>`},
		{"an endpoint in a state that is none", head + `entity="sip:c@example.com" version="1"><users><user entity="a"><endpoint entity="b"><status>asleep</status></endpoint></user></users></conference-info>`},
		{"too many users", head + `entity="sip:c@example.com" version="1"><users>` + many(MaxUsers+1) + `</users></conference-info>`},
		{"too many endpoints", head + `entity="sip:c@example.com" version="1"><users><user entity="a">` + strings.Repeat(`<endpoint/>`, MaxEndpoints+1) + `</user></users></conference-info>`},
		{"a DTD", `<!DOCTYPE x [<!ENTITY a "b">]>` + twoUsers},
		{"5 MB", head + strings.Repeat(" ", 5<<20) + `entity="sip:c@example.com" version="1"/>`},
		{"cut off", twoUsers[:len(twoUsers)/2]},
	} {
		var e *Error
		if d, err := Parse([]byte(c.doc)); !errors.As(err, &e) {
			t.Errorf("%s: %+v, %v", c.name, d, err)
		}
	}
}

// summary is who takes part, and how.
func summary(s *State) string {
	var all []string
	for _, u := range s.Users() {
		text := u.Entity
		for _, e := range u.Endpoints {
			text += " " + string(e.Status)
			for _, m := range e.Media {
				text += "/" + m.Status
			}
		}
		if len(u.Roles) > 0 {
			text += " " + strings.Join(u.Roles, ",")
		}
		all = append(all, text)
	}
	return strings.Join(all, "; ")
}

// How documents are put together (RFC 4575 §4.6): a full element takes the place
// of what was known, a partial one changes it, a deleted one takes it away.
func TestState_RFC4575_4_6(t *testing.T) {
	const conf = "sip:c@example.com"
	endpoint := func(status EndpointStatus, p Part) []Endpoint {
		return []Endpoint{{Entity: "e", Part: p, Status: status}}
	}
	users := func(p Part, u ...User) *Users { return &Users{Part: p, User: u} }
	var s State
	for _, step := range []struct {
		name string
		doc  Document
		err  error
		want string
	}{
		{"a partial one at first", Document{Part: Partial, Version: 1, Users: users(Partial, User{Entity: "a"})}, ErrGap, ""},
		{"full", Document{Version: 3, Status: &Status{UserCount: ptr(2), Locked: ptr(false)}, Users: users(Full,
			User{Entity: "a", Roles: []string{"moderator"}, Endpoints: endpoint(Connected, Full)},
			User{Entity: "b", Endpoints: endpoint(Alerting, Full)})}, nil, "a connected moderator; b alerting"},
		{"partial user and endpoint", Document{Part: Partial, Version: 4, Users: users(Partial,
			User{Entity: "b", Part: Partial, Endpoints: []Endpoint{{Entity: "e", Part: Partial, Status: Connected, Media: []Media{{ID: "1", Status: "sendonly"}}}}})}, nil, "a connected moderator; b connected/sendonly"},
		{"a full user forgets what is not said", Document{Part: Partial, Version: 5, Users: users(Partial,
			User{Entity: "a", Part: Full, Endpoints: endpoint(OnHold, Full)})}, nil, "a on-hold; b connected/sendonly"},
		{"one comes, one goes", Document{Part: Partial, Version: 6, Status: &Status{Locked: ptr(true)}, Users: users(Partial,
			User{Entity: "b", Part: Deleted}, User{Entity: "c", Endpoints: endpoint(DialingIn, Full)}, User{Entity: "x", Part: Deleted})}, nil, "a on-hold; c dialing-in"},
		{"again", Document{Part: Partial, Version: 6}, ErrOld, "a on-hold; c dialing-in"},
		{"backwards", Document{Version: 2}, ErrOld, "a on-hold; c dialing-in"},
		{"another conference", Document{Entity: "sip:d@example.com", Version: 7}, ErrEntity, "a on-hold; c dialing-in"},
		{"one is missing", Document{Part: Partial, Version: 8, Users: users(Full)}, ErrGap, "a on-hold; c dialing-in"},
		{"nothing counts before the full one", Document{Part: Partial, Version: 7, Users: users(Full)}, ErrGap, "a on-hold; c dialing-in"},
		{"full again", Document{Version: 9, Users: users("", User{Entity: "c"})}, nil, "c"},
		{"an endpoint goes", Document{Part: Partial, Version: 10, Users: users(Partial,
			User{Entity: "c", Part: Partial, Endpoints: endpoint("", Deleted)})}, nil, "c"},
		{"over", Document{Part: Deleted, Version: 11}, nil, ""},
	} {
		if step.doc.Entity == "" {
			step.doc.Entity = conf
		}
		if err := s.Apply(&step.doc); !errors.Is(err, step.err) {
			t.Errorf("%s: %v, want %v", step.name, err, step.err)
		}
		if got := summary(&s); got != step.want {
			t.Errorf("%s: %q, want %q", step.name, got, step.want)
		}
		switch step.name {
		case "one comes, one goes":
			if st := s.Status(); *st.UserCount != 2 || !*st.Locked || st.Active != nil {
				t.Errorf("%s: %+v", step.name, st)
			}
		case "one is missing":
			if s.Complete() {
				t.Error("complete with a gap")
			}
		}
	}
	if !s.Over() || !s.Complete() {
		t.Error("not over")
	}
	s.Reset()
	if s.Over() || s.Complete() || s.Entity != conf {
		t.Errorf("reset: %+v", s)
	}
}

// A notifier cannot make a watcher keep more than MaxUsers.
func TestStateFull(t *testing.T) {
	var s State
	d := &Document{Entity: "sip:c@example.com", Version: 1, Users: &Users{}}
	if err := s.Apply(d); err != nil {
		t.Fatal(err)
	}
	for v := range uint32(3) {
		d := &Document{Entity: "sip:c@example.com", Part: Partial, Version: v + 2, Users: &Users{Part: Partial}}
		for i := range MaxUsers / 2 {
			d.Users.User = append(d.Users.User, User{Entity: fmt.Sprint(v, " ", i)})
		}
		if err := s.Apply(d); v < 2 && err != nil || v == 2 && !errors.Is(err, ErrFull) {
			t.Errorf("document %d: %v", v, err)
		}
	}
	if n := len(s.Users()); n != MaxUsers {
		t.Errorf("%d users", n)
	}
}

func TestWrittenIsRead(t *testing.T) {
	text := func(r *rand.Rand) string {
		rs := []rune(`ab<>&"'é𝄞; =`)
		b := []rune{'x'}
		for range r.IntN(6) {
			b = append(b, rs[r.IntN(len(rs))])
		}
		return string(append(b, 'x'))
	}
	action := func(r *rand.Rand) *Action {
		if r.IntN(2) == 0 {
			return nil
		}
		return &Action{When: time.Unix(r.Int64N(1<<32), 0).UTC(), Reason: text(r), By: text(r)}
	}
	parts := []Part{Full, Partial, Deleted}
	if err := quick.Check(func(seed uint64) bool {
		r := rand.New(rand.NewPCG(seed, 0))
		d := &Document{Entity: text(r), Part: parts[r.IntN(3)], Version: r.Uint32()}
		if r.IntN(2) == 0 {
			d.Description = &Description{DisplayText: text(r), Subject: text(r), FreeText: text(r), MaxUsers: r.IntN(100), URIs: []Entry{{text(r), text(r), text(r)}}}
			d.Status = &Status{UserCount: ptr(r.IntN(9)), Active: ptr(true), Locked: ptr(false)}
		}
		if r.IntN(4) > 0 {
			d.Users = &Users{Part: parts[r.IntN(2)]}
			for range r.IntN(4) {
				u := User{Entity: text(r), Part: parts[r.IntN(3)], DisplayText: text(r), AORs: []Entry{{URI: text(r)}}, Roles: []string{text(r), text(r)}}
				for range r.IntN(3) {
					u.Endpoints = append(u.Endpoints, Endpoint{
						Entity: text(r), Part: parts[r.IntN(3)], DisplayText: text(r), Status: Connected, Joining: text(r), Leaving: text(r),
						Referred: action(r), Joined: action(r), Left: action(r), Call: &DialogID{text(r), text(r), text(r)},
						Media: []Media{{text(r), text(r), text(r), text(r), text(r), text(r)}},
					})
				}
				d.Users.User = append(d.Users.User, u)
			}
		}
		got, err := Parse(d.Bytes())
		if err != nil || !reflect.DeepEqual(got, d) {
			t.Logf("%v\n%+v\n%+v\n%s", err, got, d, d.Bytes())
			return false
		}
		return true
	}, nil); err != nil {
		t.Error(err)
	}
}

func FuzzParse(f *testing.F) {
	f.Add([]byte(twoUsers))
	f.Add([]byte(head + `entity="sip:c@example.com" state="deleted" version="4"/>`))
	f.Fuzz(func(t *testing.T, body []byte) {
		d, err := Parse(body)
		if err != nil {
			return
		}
		var s State
		_ = s.Apply(d)
		b := d.Bytes()
		if len(b) > xmldoc.MaxSize {
			return
		}
		if _, err := Parse(b); err != nil {
			t.Fatalf("%v: %s", err, b)
		}
	})
}
