package dialoginfo

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

const head = `<?xml version="1.0"?><dialog-info xmlns="urn:ietf:params:xml:ns:dialog-info" `

// Documents, those of RFC 4235 with their section.
var examples = []struct {
	name, doc string
	want      Document
}{
	{"§4.1.1", head + `version="0" state="partial" entity="sip:alice@example.com">
     <dialog id="as7d900as8" call-id="a84b4c76e66710" local-tag="1928301774" direction="initiator">
       <state event="rejected" code="486">terminated</state>
       <duration>145</duration>
     </dialog>
   </dialog-info>`,
		Document{Entity: "sip:alice@example.com", Dialogs: []Dialog{{
			ID: "as7d900as8", CallID: "a84b4c76e66710", LocalTag: "1928301774", Direction: Initiator,
			State: Terminated, Event: "rejected", Code: 486, Duration: 145 * time.Second, HasDuration: true,
		}}}},
	{"§4.4", head + `version="1" state="full" entity="sip:alice@example.com">
     <dialog id="123456">
       <state>confirmed</state>
       <duration>274</duration>
       <local>
         <identity display="Alice">sip:alice@example.com</identity>
         <target uri="sip:alice@pc33.example.com">
           <param pname="isfocus" pval="true"/>
           <param pname="class" pval="personal"/>
         </target>
       </local>
       <remote>
         <identity display="Bob">sip:bob@example.org</identity>
         <target uri="sip:bobster@phone21.example.org"/>
       </remote>
     </dialog>
   </dialog-info>`,
		Document{Entity: "sip:alice@example.com", Version: 1, Full: true, Dialogs: []Dialog{{
			ID: "123456", State: Confirmed, Duration: 274 * time.Second, HasDuration: true,
			Local: Participant{Identities: []Identity{{"sip:alice@example.com", "Alice"}}, Target: "sip:alice@pc33.example.com",
				Params: []Param{{"isfocus", "true"}, {"class", "personal"}}},
			Remote: Participant{Identities: []Identity{{"sip:bob@example.org", "Bob"}}, Target: "sip:bobster@phone21.example.org"},
		}}}},
	{"§4.1.4 to §4.1.6, §5.2: held (sip.rendering), and what else there may be", head + `version="4" state="partial" entity="sip:bob@example.com">
     <dialog id="zxcvbnm3" call-id="zxcvbnm3" local-tag="12" remote-tag="34" direction="recipient">
       <state>confirmed</state>
       <replaces call-id="hg287s98s89" local-tag="6762h7" remote-tag="09278hsb"/>
       <referred-by display="Bob"> sip:bob@example.com </referred-by>
       <route-set><hop>sip:p1.example.com;lr</hop><hop> sip:p2.example.com;lr </hop></route-set>
       <local>
         <identity>sip:bob@example.com</identity><identity>tel:+123</identity>
         <target uri="sip:bob@pc33.example.com"><param pname="+sip.rendering" pval="no"/></target>
         <session-description type="application/sdp">v=0</session-description>
         <cseq>7</cseq>
       </local>
       <ext:other xmlns:ext="urn:other"><state>nonsense</state></ext:other>
     </dialog>
   </dialog-info>`,
		Document{Entity: "sip:bob@example.com", Version: 4, Dialogs: []Dialog{{
			ID: "zxcvbnm3", CallID: "zxcvbnm3", LocalTag: "12", RemoteTag: "34", Direction: Recipient, State: Confirmed,
			Replaces:   &DialogID{"hg287s98s89", "6762h7", "09278hsb"},
			ReferredBy: &Identity{"sip:bob@example.com", "Bob"},
			RouteSet:   []string{"sip:p1.example.com;lr", "sip:p2.example.com;lr"},
			Local: Participant{Identities: []Identity{{"sip:bob@example.com", ""}, {"tel:+123", ""}}, Target: "sip:bob@pc33.example.com",
				Params: []Param{{"+sip.rendering", "no"}}, Description: "v=0", DescriptionType: "application/sdp", CSeq: "7"},
		}}}},
	{"no dialogs", head + `version="0" state="full" entity="sip:alice@example.com"/>`,
		Document{Entity: "sip:alice@example.com", Full: true}},
	{"as Kamailio 5.6 writes the state", head + `version="2" state="full" entity="sip:a@b"><dialog id="padi-1" call-id="c" direction="initiator">
    <state>Trying</state></dialog></dialog-info>`,
		Document{Entity: "sip:a@b", Version: 2, Full: true, Dialogs: []Dialog{{ID: "padi-1", CallID: "c", Direction: Initiator, State: Trying}}}},
	{"without a namespace", `<dialog-info version="0" state="full" entity="sip:a@b"><dialog id="1"><state> early
	</state></dialog></dialog-info>`, Document{Entity: "sip:a@b", Full: true, Dialogs: []Dialog{{ID: "1", State: Early}}}},
}

func TestExamples(t *testing.T) {
	for _, tt := range examples {
		d, err := Parse([]byte(tt.doc))
		if err != nil || !reflect.DeepEqual(*d, tt.want) {
			t.Errorf("%s: %v\n got %+v\nwant %+v", tt.name, err, d, tt.want)
			continue
		}
		again, err := Parse(d.Bytes())
		if err != nil || !reflect.DeepEqual(again, d) {
			t.Errorf("%s: written and read again: %v\n%s", tt.name, err, d.Bytes())
		}
	}
	held := examples[2].want.Dialogs[0]
	if !held.Local.Held() || held.Remote.Held() || held.Local.Identity().URI != "sip:bob@example.com" || held.Remote.Identity() != (Identity{}) {
		t.Errorf("%+v", held)
	}
}

func TestRefused(t *testing.T) {
	for _, tt := range []struct {
		name, doc string
		want      error
	}{
		{"a DTD", `<!DOCTYPE dialog-info [<!ENTITY a "b">]>` + head[21:] + `version="0" state="full" entity="sip:a@b"/>`, xmldoc.ErrDTD},
		{"5 MB", head + `version="0" state="full" entity="sip:a@b">` + strings.Repeat(" ", 5<<20) + `</dialog-info>`, xmldoc.ErrSize},
		{"too many dialogs", head + `version="0" state="full" entity="sip:a@b">` + strings.Repeat(`<dialog id="1"><state>early</state></dialog>`, MaxDialogs+1) + `</dialog-info>`, xmldoc.ErrSize},
		{"another document", `<presence/>`, xmldoc.ErrRoot},
		{"no version", head + `state="full" entity="sip:a@b"/>`, nil},
		{"no entity", head + `version="1" state="full"/>`, nil},
		{"a version beyond 32 bits", head + `version="4294967296" state="full" entity="sip:a@b"/>`, nil},
		{"another state", head + `version="1" state="some" entity="sip:a@b"/>`, nil},
		{"a dialog without id", head + `version="1" state="full" entity="sip:a@b"><dialog><state>early</state></dialog></dialog-info>`, nil},
		{"a dialog without state", head + `version="1" state="full" entity="sip:a@b"><dialog id="1"/></dialog-info>`, nil},
		{"cut off", head + `version="1" state="full" entity="sip:a@b"><dialog`, nil},
		{"nothing", ``, xmldoc.ErrRoot},
	} {
		_, err := Parse([]byte(tt.doc))
		var e *Error
		if !errors.As(err, &e) || tt.want != nil && !errors.Is(err, tt.want) {
			t.Errorf("%s: %v", tt.name, err)
		}
	}
}

// RFC 4235 §4.3: versions.
func TestState(t *testing.T) {
	dialog := func(id string, s DialogState) Dialog { return Dialog{ID: id, State: s} }
	var s State
	s.Entity = "sip:a@b"
	for i, step := range []struct {
		doc  Document
		err  error
		ids  string
		full bool
	}{
		{Document{Version: 4, Dialogs: []Dialog{dialog("1", Early)}}, ErrGap, "", false}, // the first has to be full
		{Document{Version: 5, Full: true, Dialogs: []Dialog{dialog("1", Early), dialog("2", Confirmed)}}, nil, "1 early,2 confirmed", true},
		{Document{Version: 6, Dialogs: []Dialog{dialog("1", Confirmed), dialog("3", Trying)}}, nil, "1 confirmed,2 confirmed,3 trying", true},
		{Document{Version: 6, Dialogs: []Dialog{dialog("1", Terminated)}}, ErrOld, "1 confirmed,2 confirmed,3 trying", true},
		{Document{Version: 2, Full: true}, ErrOld, "1 confirmed,2 confirmed,3 trying", true}, // backwards
		{Document{Entity: "sip:eve@b", Version: 7, Full: true}, ErrEntity, "1 confirmed,2 confirmed,3 trying", true},
		{Document{Version: 7, Dialogs: []Dialog{dialog("2", Terminated), dialog("9", Terminated)}}, nil, "1 confirmed,3 trying", true},
		{Document{Version: 9, Dialogs: []Dialog{dialog("4", Early)}}, ErrGap, "1 confirmed,3 trying", false},
		{Document{Version: 8, Dialogs: []Dialog{dialog("4", Early)}}, ErrGap, "1 confirmed,3 trying", false}, // until a full one has come
		{Document{Version: 10, Full: true, Dialogs: []Dialog{dialog("4", Early)}}, nil, "4 early", true},
	} {
		if step.doc.Entity == "" {
			step.doc.Entity = "sip:a@b"
		}
		if err := s.Apply(&step.doc); !errors.Is(err, step.err) {
			t.Errorf("step %d: %v, want %v", i, err, step.err)
		}
		var ids []string
		for _, d := range s.Dialogs() {
			ids = append(ids, d.ID+" "+string(d.State))
		}
		if got := strings.Join(ids, ","); got != step.ids || s.Complete() != step.full {
			t.Errorf("step %d: %s, complete is %v", i, got, s.Complete())
		}
	}
	s.Reset()
	if err := s.Apply(&Document{Entity: "sip:a@b", Full: true}); err != nil || len(s.Dialogs()) != 0 {
		t.Error("a new subscription:", err)
	}
	for i := range 3 {
		d := &Document{Entity: "sip:a@b", Version: uint32(i + 1)}
		for j := range MaxDialogs / 2 {
			d.Dialogs = append(d.Dialogs, dialog(fmt.Sprint(i, "-", j), Early))
		}
		if err := s.Apply(d); (i == 2) != errors.Is(err, ErrFull) || len(s.Dialogs()) > MaxDialogs {
			t.Errorf("%d: %v, %d dialogs", i, err, len(s.Dialogs()))
		}
	}
}

// What is written is read as it was.
func TestWrittenIsRead(t *testing.T) {
	text := func(r *rand.Rand) string {
		const signs = `ab<>&"'é𝄞; =`
		rs := []rune(signs)
		b := []rune{'x'}
		for range r.IntN(6) {
			b = append(b, rs[r.IntN(len(rs))])
		}
		return string(append(b, 'x'))
	}
	side := func(r *rand.Rand) (p Participant) {
		for range r.IntN(3) {
			p.Identities = append(p.Identities, Identity{text(r), text(r)})
		}
		if r.IntN(2) == 0 {
			p.Target, p.Params = text(r), []Param{{text(r), text(r)}}
		}
		if r.IntN(2) == 0 {
			p.Description, p.DescriptionType, p.CSeq = text(r), text(r), text(r)
		}
		return p
	}
	if err := quick.Check(func(seed uint64) bool {
		r := rand.New(rand.NewPCG(seed, 0))
		d := &Document{Entity: text(r), Version: r.Uint32(), Full: r.IntN(2) == 0}
		for range r.IntN(4) {
			x := Dialog{
				ID: text(r), CallID: text(r), LocalTag: text(r), RemoteTag: text(r), Direction: []string{"", Initiator, Recipient}[r.IntN(3)],
				State: []DialogState{Trying, Proceeding, Early, Confirmed, Terminated}[r.IntN(5)], Event: text(r), Code: 100 + r.IntN(600),
				Local: side(r), Remote: side(r),
			}
			if r.IntN(2) == 0 {
				x.Duration, x.HasDuration = time.Duration(r.IntN(1e6))*time.Second, true
				x.Replaces, x.ReferredBy, x.RouteSet = &DialogID{text(r), text(r), text(r)}, &Identity{text(r), text(r)}, []string{text(r)}
			}
			d.Dialogs = append(d.Dialogs, x)
		}
		got, err := Parse(d.Bytes())
		if err != nil || !reflect.DeepEqual(got, d) {
			t.Logf("%v\n%s\n%+v\n%+v", err, d.Bytes(), got, d)
			return false
		}
		return true
	}, nil); err != nil {
		t.Error(err)
	}
}

func FuzzParse(f *testing.F) {
	for _, e := range examples {
		f.Add([]byte(e.doc))
	}
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
