package confinfo

import (
	"strconv"
	"time"

	"github.com/hoorn-phone/hoorn/internal/xmldoc"
)

// Bytes is the document as XML. Characters that XML cannot hold are left out.
func (d *Document) Bytes() []byte {
	var w xmldoc.Writer
	w.Begin("conference-info", attr("xmlns", namespace), attr("entity", d.Entity),
		attr("state", string(or(d.Part))), attr("version", strconv.FormatUint(uint64(d.Version), 10)))
	if c := d.Description; c != nil {
		w.Begin("conference-description")
		w.Element("display-text", c.DisplayText)
		w.Element("subject", c.Subject)
		w.Element("free-text", c.FreeText)
		writeEntries(&w, "conf-uris", c.URIs)
		if c.MaxUsers > 0 {
			w.Element("maximum-user-count", strconv.Itoa(c.MaxUsers))
		}
		w.End()
	}
	if s := d.Status; s != nil {
		w.Begin("conference-state")
		if s.UserCount != nil {
			w.Element("user-count", strconv.Itoa(*s.UserCount))
		}
		writeBool(&w, "active", s.Active)
		writeBool(&w, "locked", s.Locked)
		w.End()
	}
	if d.Users != nil {
		w.Begin("users", attr("state", string(or(d.Users.Part))))
		for i := range d.Users.User {
			d.Users.User[i].write(&w)
		}
		w.End()
	}
	w.End()
	return w.Bytes()
}

func (u *User) write(w *xmldoc.Writer) {
	w.Begin("user", attr("entity", u.Entity), attr("state", string(or(u.Part))))
	w.Element("display-text", u.DisplayText)
	writeEntries(w, "associated-aors", u.AORs)
	if len(u.Roles) > 0 {
		w.Begin("roles")
		for _, r := range u.Roles {
			w.Element("entry", r)
		}
		w.End()
	}
	for i := range u.Endpoints {
		u.Endpoints[i].write(w)
	}
	w.End()
}

func (e *Endpoint) write(w *xmldoc.Writer) {
	w.Begin("endpoint", attr("entity", e.Entity), attr("state", string(or(e.Part))))
	w.Element("display-text", e.DisplayText)
	e.Referred.write(w, "referred")
	w.Element("status", string(e.Status))
	w.Element("joining-method", e.Joining)
	e.Joined.write(w, "joining-info")
	w.Element("disconnection-method", e.Leaving)
	e.Left.write(w, "disconnection-info")
	for _, m := range e.Media {
		w.Begin("media", attr("id", m.ID))
		w.Element("display-text", m.DisplayText)
		w.Element("type", m.Type)
		w.Element("label", m.Label)
		w.Element("src-id", m.SrcID)
		w.Element("status", m.Status)
		w.End()
	}
	if c := e.Call; c != nil {
		w.Begin("call-info")
		w.Begin("sip")
		w.Element("call-id", c.CallID)
		w.Element("from-tag", c.FromTag)
		w.Element("to-tag", c.ToTag)
		w.End()
		w.End()
	}
	w.End()
}

func (a *Action) write(w *xmldoc.Writer, name string) {
	if a == nil {
		return
	}
	w.Begin(name)
	if !a.When.IsZero() {
		w.Element("when", a.When.UTC().Format(time.RFC3339))
	}
	w.Element("reason", a.Reason)
	w.Element("by", a.By)
	w.End()
}

func writeEntries(w *xmldoc.Writer, name string, es []Entry) {
	if len(es) == 0 {
		return
	}
	w.Begin(name)
	for _, e := range es {
		w.Begin("entry")
		w.Element("uri", e.URI)
		w.Element("display-text", e.DisplayText)
		w.Element("purpose", e.Purpose)
		w.End()
	}
	w.End()
}

func writeBool(w *xmldoc.Writer, name string, v *bool) {
	if v != nil {
		w.Element(name, strconv.FormatBool(*v))
	}
}

func attr(name, value string) xmldoc.Attr { return xmldoc.Attr{Name: name, Value: value} }

func or(p Part) Part {
	if p == "" {
		return Full
	}
	return p
}
