package form

import (
	"reflect"
	"strings"
	"testing"

	"github.com/hoorn-phone/hoorn/xmpp/xmltree"
)

// XEP-0004 §4: a form, what is submitted, and a result of several items.
func TestExamples(t *testing.T) {
	for name, c := range map[string]struct {
		xml  string
		want *Data
	}{
		"example 2": {
			`<x xmlns='jabber:x:data' type='form'><title>Bot Configuration</title><instructions>Fill out this form to configure your new bot!</instructions>
<field type='hidden' var='FORM_TYPE'><value>jabber:bot</value></field>
<field type='text-single' label='The name of your bot' var='botname'/>
<field type='boolean' label='Public bot?' var='public'><required/></field>
<field type='list-multi' label='What features will the bot support?' var='features'><option label='Contests'><value>contests</value></option><option label='News'><value>news</value></option><value>news</value></field></x>`,
			&Data{Type: TypeForm, Title: "Bot Configuration", Instructions: []string{"Fill out this form to configure your new bot!"}, Fields: []Field{
				{Var: "FORM_TYPE", Type: "hidden", Values: []string{"jabber:bot"}},
				{Var: "botname", Type: "text-single", Label: "The name of your bot"},
				{Var: "public", Type: "boolean", Label: "Public bot?", Required: true},
				{Var: "features", Type: "list-multi", Label: "What features will the bot support?", Values: []string{"news"}, Options: []Option{{"Contests", "contests"}, {"News", "news"}}},
			}},
		},
		"example 8": {
			`<x xmlns='jabber:x:data' type='result'><reported><field var='name' label='Name'/></reported><item><field var='name'><value>Comune di Verona</value></field></item><item><field var='name'><value>Benvenuto!</value></field></item></x>`,
			&Data{Type: TypeResult, Reported: []Field{{Var: "name", Label: "Name"}}, Items: [][]Field{{Text("name", "Comune di Verona")}, {Text("name", "Benvenuto!")}}},
		},
		"submit": {
			`<x xmlns='jabber:x:data' type='submit'><field var='FORM_TYPE' type='hidden'><value>jabber:bot</value></field><field var='public'><value>1</value></field></x>`,
			Submit("jabber:bot", Flag("public", true)),
		},
	} {
		e, err := xmltree.Parse([]byte(c.xml))
		if err != nil {
			t.Fatal(err)
		}
		got, err := Parse(e)
		if err != nil || !reflect.DeepEqual(got, c.want) {
			t.Errorf("%s: %+v, %v, want %+v", name, got, err, c.want)
			continue
		}
		if again, err := Parse(got.Element()); err != nil || !reflect.DeepEqual(again, got) {
			t.Errorf("%s: written and read it is %+v, %v", name, again, err)
		}
	}
}

func TestGet(t *testing.T) {
	d := Submit("jabber:bot", Text("a", "1", "2"), Flag("no", false), Text("true", "true"), Text("empty"))
	if d.FormType() != "jabber:bot" || d.Get("a") != "1" || d.Get("b") != "" || d.Get("empty") != "" || (*Data)(nil).Get("a") != "" {
		t.Errorf("of %+v", d)
	}
	for name, want := range map[string][2]bool{"a": {true, true}, "no": {false, true}, "true": {true, true}, "b": {}, "FORM_TYPE": {}} {
		if v, ok := d.Bool(name); v != want[0] || ok != want[1] {
			t.Errorf("%s is %t, %t", name, v, ok)
		}
	}
}

func TestRefused(t *testing.T) {
	for name, xml := range map[string]string{
		"another element": `<x xmlns='jabber:x:oob'/>`,
		"fields":          `<x xmlns='jabber:x:data'>` + strings.Repeat(`<field/>`, maxFields+1) + `</x>`,
		"items":           `<x xmlns='jabber:x:data'>` + strings.Repeat(`<item/>`, maxItems+1) + `</x>`,
	} {
		e, err := xmltree.Parse([]byte(xml))
		if err != nil {
			t.Fatal(err)
		}
		if d, err := Parse(e); err != ErrForm || d != nil {
			t.Errorf("%s: %v, %v", name, d, err)
		}
	}
}

// What was read and is written is read as the same.
func FuzzParse(f *testing.F) {
	f.Add(`<x xmlns='jabber:x:data' type='form'><title>t</title><field var='a' type='list-single'><required/><value>1</value><option label='l'><value>v</value></option></field><item><field/></item></x>`)
	f.Fuzz(func(t *testing.T, xml string) {
		e, err := xmltree.Parse([]byte(xml))
		if err != nil {
			return
		}
		d, err := Parse(e)
		if err != nil {
			return
		}
		if again, err := Parse(d.Element()); err != nil || again.Element().String() != d.Element().String() {
			t.Errorf("%s became %s, %v", d.Element(), again.Element(), err)
		}
	})
}
