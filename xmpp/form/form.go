// Package form has the data forms of XEP-0004, which other extensions ask and
// answer with.
package form

import (
	"errors"
	"slices"

	"github.com/hoorn-phone/hoorn/xmpp/xmltree"
)

// NS is the namespace of data forms.
const NS = "jabber:x:data"

// Type is what a form is for (§3.1).
type Type string

// The types.
const (
	TypeForm   Type = "form"   // to be filled in
	TypeSubmit Type = "submit" // filled in
	TypeCancel Type = "cancel"
	TypeResult Type = "result"
)

// Bounds of what is taken.
const (
	maxFields = 1000 // of a form, and of each item
	maxItems  = 1000
)

// ErrForm says that an element is no form, or one beyond all bounds.
var ErrForm = errors.New("form: not a data form")

// Field is a field of a form (§3.2).
type Field struct {
	Var      string
	Type     string // "" where the form does not say, as in a submission
	Label    string
	Desc     string
	Required bool
	Values   []string
	Options  []Option
}

// Option is a value that may be chosen.
type Option struct{ Label, Value string }

// Data is a form.
type Data struct {
	Type         Type
	Title        string
	Instructions []string
	Fields       []Field
	Reported     []Field   // what the fields of Items are (§3.4)
	Items        [][]Field // several results
}

// Submit returns a submission; formType is its FORM_TYPE (XEP-0068), "" is none.
func Submit(formType string, fields ...Field) *Data {
	d := &Data{Type: TypeSubmit}
	if formType != "" {
		d.Fields = append(d.Fields, Field{Var: "FORM_TYPE", Type: "hidden", Values: []string{formType}})
	}
	d.Fields = append(d.Fields, fields...)
	return d
}

// Text returns a field with values, as a submission has it.
func Text(name string, values ...string) Field { return Field{Var: name, Values: values} }

// Flag returns a boolean field (§3.3).
func Flag(name string, v bool) Field {
	value := "0"
	if v {
		value = "1"
	}
	return Text(name, value)
}

// Field returns the field of a name; nil if there is none.
func (d *Data) Field(name string) *Field {
	if d == nil {
		return nil
	}
	i := slices.IndexFunc(d.Fields, func(f Field) bool { return f.Var == name })
	if i < 0 {
		return nil
	}
	return &d.Fields[i]
}

// Get returns the first value of a field; "" if there is none.
func (d *Data) Get(name string) string {
	if f := d.Field(name); f != nil && len(f.Values) > 0 {
		return f.Values[0]
	}
	return ""
}

// FormType is what the form is about (XEP-0068 §3).
func (d *Data) FormType() string { return d.Get("FORM_TYPE") }

// Bool returns the value of a boolean field, and whether it has one (§3.3).
func (d *Data) Bool(name string) (v, ok bool) {
	switch d.Get(name) {
	case "1", "true":
		return true, true
	case "0", "false":
		return false, true
	}
	return false, false
}

// Parse reads a form.
func Parse(e *xmltree.Element) (*Data, error) {
	if !e.Is(NS, "x") {
		return nil, ErrForm
	}
	d := &Data{Type: Type(e.Get("type")), Title: e.Child(NS, "title").Text()}
	for c := range e.Elements() {
		switch {
		case c.Is(NS, "instructions") && len(d.Instructions) < maxFields:
			d.Instructions = append(d.Instructions, c.Text())
		case c.Is(NS, "field"):
			if len(d.Fields) == maxFields {
				return nil, ErrForm
			}
			d.Fields = append(d.Fields, parseField(c))
		case c.Is(NS, "reported"):
			d.Reported = parseFields(c)
		case c.Is(NS, "item"):
			if len(d.Items) == maxItems {
				return nil, ErrForm
			}
			d.Items = append(d.Items, parseFields(c))
		}
	}
	return d, nil
}

func parseFields(e *xmltree.Element) []Field {
	var all []Field
	for c := range e.Named(NS, "field") {
		if len(all) == maxFields {
			break
		}
		all = append(all, parseField(c))
	}
	return all
}

func parseField(e *xmltree.Element) Field {
	f := Field{Var: e.Get("var"), Type: e.Get("type"), Label: e.Get("label"), Desc: e.Child(NS, "desc").Text(), Required: e.Child(NS, "required") != nil}
	for c := range e.Elements() {
		switch {
		case c.Is(NS, "value"):
			f.Values = append(f.Values, c.Text())
		case c.Is(NS, "option"):
			f.Options = append(f.Options, Option{c.Get("label"), c.Child(NS, "value").Text()})
		}
	}
	return f
}

// Element is the form as it goes over the wire.
func (d *Data) Element() *xmltree.Element {
	e := xmltree.New(NS, "x").Set("type", string(d.Type))
	if d.Title != "" {
		e.Add(xmltree.NewText(NS, "title", d.Title))
	}
	for _, text := range d.Instructions {
		e.Add(xmltree.NewText(NS, "instructions", text))
	}
	addFields(e, d.Fields)
	if len(d.Reported) > 0 {
		e.Add(addFields(xmltree.New(NS, "reported"), d.Reported))
	}
	for _, item := range d.Items {
		e.Add(addFields(xmltree.New(NS, "item"), item))
	}
	return e
}

func addFields(e *xmltree.Element, fields []Field) *xmltree.Element {
	for i := range fields {
		f := &fields[i]
		c := xmltree.New(NS, "field").Set("var", f.Var).Set("type", f.Type).Set("label", f.Label)
		if f.Desc != "" {
			c.Add(xmltree.NewText(NS, "desc", f.Desc))
		}
		if f.Required {
			c.Add(xmltree.New(NS, "required"))
		}
		for _, v := range f.Values {
			c.Add(xmltree.NewText(NS, "value", v))
		}
		for _, o := range f.Options {
			c.Add(xmltree.New(NS, "option", xmltree.NewText(NS, "value", o.Value)).Set("label", o.Label))
		}
		e.Add(c)
	}
	return e
}
