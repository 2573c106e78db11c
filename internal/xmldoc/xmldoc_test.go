package xmldoc

import (
	"encoding/xml"
	"errors"
	"strings"
	"testing"
)

func TestRefused(t *testing.T) {
	for _, tt := range []struct {
		name, doc string
		want      error
	}{
		{"a DTD", `<!DOCTYPE x [<!ENTITY a "b">]><x/>`, ErrDTD},
		{"a billion laughs", `<?xml version="1.0"?><!DOCTYPE x [<!ENTITY a "aaaa"><!ENTITY b "&a;&a;">]><x>&b;</x>`, ErrDTD},
		{"too deep", strings.Repeat("<x>", MaxDepth+1) + strings.Repeat("</x>", MaxDepth+1), ErrDepth},
		{"too large", "<x>" + strings.Repeat(" ", MaxSize) + "</x>", ErrSize},
		{"too many", "<x>" + strings.Repeat("<y/>", MaxElements) + "</x>", ErrSize},
		{"another root", "<y/>", ErrRoot},
		{"another namespace", `<x xmlns="urn:z"/>`, ErrRoot},
		{"two roots", `<x/><x/>`, ErrRoot},
		{"nothing", ``, ErrRoot},
	} {
		var v struct{}
		if err := Decode([]byte(tt.doc), "urn:x", "x", &v); !errors.Is(err, tt.want) {
			t.Errorf("%s: %v, want %v", tt.name, err, tt.want)
		}
	}
	for _, doc := range []string{"<x>&a;</x>", "<x>", "<x></y>", `<?xml version="1.0" encoding="utf-16"?><x/>`} {
		var v struct{}
		if err := Decode([]byte(doc), "urn:x", "x", &v); err == nil {
			t.Errorf("%s was taken", doc)
		}
	}
}

func TestWriter(t *testing.T) {
	var w Writer
	w.Begin("x", Attr{"xmlns", "urn:x"}, Attr{"none", ""})
	w.Element("a", "1 < 2 & \x00\"", Attr{"b", `"'`})
	w.Element("nothing", "")
	w.Begin("c")
	w.End()
	w.End()
	var v struct {
		A struct {
			B string `xml:"b,attr"`
			T string `xml:",chardata"`
		} `xml:"a"`
		C *struct{} `xml:"c"`
		N *struct{} `xml:"nothing"`
	}
	if err := Decode(w.Bytes(), "urn:x", "x", &v); err != nil || v.A.T != "1 < 2 & \"" || v.A.B != `"'` || v.C == nil || v.N != nil {
		t.Errorf("%v: %+v of\n%s", err, v, w.Bytes())
	}
	if err := xml.Unmarshal(w.Bytes(), &v); err != nil {
		t.Error(err)
	}
}
