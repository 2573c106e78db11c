package dialoginfo

import (
	"strconv"
	"time"

	"github.com/hoorn-phone/hoorn/internal/xmldoc"
)

// Bytes is the document as XML. Characters that XML cannot hold are left out.
func (d *Document) Bytes() []byte {
	var w xmldoc.Writer
	state := "partial"
	if d.Full {
		state = "full"
	}
	w.Begin("dialog-info", xmldoc.Attr{Name: "xmlns", Value: namespace},
		xmldoc.Attr{Name: "version", Value: strconv.FormatUint(uint64(d.Version), 10)},
		xmldoc.Attr{Name: "state", Value: state}, xmldoc.Attr{Name: "entity", Value: d.Entity})
	for i := range d.Dialogs {
		d.Dialogs[i].write(&w)
	}
	w.End()
	return w.Bytes()
}

func (d *Dialog) write(w *xmldoc.Writer) {
	w.Begin("dialog", xmldoc.Attr{Name: "id", Value: d.ID}, xmldoc.Attr{Name: "call-id", Value: d.CallID},
		xmldoc.Attr{Name: "local-tag", Value: d.LocalTag}, xmldoc.Attr{Name: "remote-tag", Value: d.RemoteTag},
		xmldoc.Attr{Name: "direction", Value: d.Direction})
	code := ""
	if d.Code != 0 {
		code = strconv.Itoa(d.Code)
	}
	w.Element("state", string(d.State), xmldoc.Attr{Name: "event", Value: d.Event}, xmldoc.Attr{Name: "code", Value: code})
	if d.HasDuration {
		w.Element("duration", strconv.FormatInt(int64(max(d.Duration, 0)/time.Second), 10))
	}
	if r := d.Replaces; r != nil {
		w.Begin("replaces", xmldoc.Attr{Name: "call-id", Value: r.CallID},
			xmldoc.Attr{Name: "local-tag", Value: r.LocalTag}, xmldoc.Attr{Name: "remote-tag", Value: r.RemoteTag})
		w.End()
	}
	if r := d.ReferredBy; r != nil {
		w.Begin("referred-by", xmldoc.Attr{Name: "display", Value: r.Display})
		w.Text(r.URI)
		w.End()
	}
	if len(d.RouteSet) > 0 {
		w.Begin("route-set")
		for _, hop := range d.RouteSet {
			w.Element("hop", hop)
		}
		w.End()
	}
	d.Local.write(w, "local")
	d.Remote.write(w, "remote")
	w.End()
}

func (p *Participant) write(w *xmldoc.Writer, name string) {
	if len(p.Identities)+len(p.Params) == 0 && p.Target == "" && p.Description == "" && p.CSeq == "" {
		return
	}
	w.Begin(name)
	for _, id := range p.Identities {
		w.Begin("identity", xmldoc.Attr{Name: "display", Value: id.Display})
		w.Text(id.URI)
		w.End()
	}
	if p.Target != "" || len(p.Params) > 0 {
		w.Begin("target", xmldoc.Attr{Name: "uri", Value: p.Target})
		for _, x := range p.Params {
			w.Begin("param", xmldoc.Attr{Name: "pname", Value: x.Name}, xmldoc.Attr{Name: "pval", Value: x.Value})
			w.End()
		}
		w.End()
	}
	w.Element("session-description", p.Description, xmldoc.Attr{Name: "type", Value: p.DescriptionType})
	w.Element("cseq", p.CSeq)
	w.End()
}
