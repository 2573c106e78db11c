package caps

import (
	"crypto/sha1"
	"crypto/sha256"
	"crypto/sha512"
	"encoding/base64"
	"hash"
	"maps"
	"slices"
	"strings"

	"github.com/hoorn-phone/hoorn/xmpp"
	"github.com/hoorn-phone/hoorn/xmpp/form"
)

// hashes are the functions of §4 and XEP-0300 that are good enough here.
var hashes = map[string]func() hash.Hash{"sha-1": sha1.New, "sha-256": sha256.New, "sha-512": sha512.New}

// Hash computes the verification string of §5.1. ok is false for an unknown function, and for what §5.4 calls ill-formed: something is there
// twice, so that one string could stand for two things, or has the character that separates its parts.
func Hash(i *xmpp.Info, function string) (ver string, ok bool) {
	h := hashes[function]
	if i == nil || h == nil {
		return "", false
	}
	var parts []string
	ok = true
	add := func(all []string) {
		slices.Sort(all)
		for n, s := range all {
			ok = ok && (n == 0 || all[n-1] != s)
		}
		parts = append(parts, all...)
	}
	clean := func(all ...string) {
		ok = ok && !slices.ContainsFunc(all, func(s string) bool { return strings.Contains(s, "<") })
	}
	var identities []string
	for _, id := range i.Identities {
		clean(id.Category, id.Type, id.Lang, id.Name)
		identities = append(identities, id.Category+"/"+id.Type+"/"+id.Lang+"/"+id.Name)
	}
	add(identities)
	clean(i.Features...)
	add(slices.Clone(i.Features))
	forms := make(map[string][]string)
	for _, e := range i.Forms {
		d, err := form.Parse(e)
		if err != nil {
			return "", false
		}
		t := d.Field("FORM_TYPE")
		if t == nil || t.Type != "hidden" {
			continue // §5.4: left out
		}
		if len(t.Values) != 1 || forms[t.Values[0]] != nil {
			return "", false
		}
		name := t.Values[0] // t points into what is changed below
		clean(name)
		fields := slices.DeleteFunc(d.Fields, func(f form.Field) bool { return f.Var == "FORM_TYPE" })
		slices.SortFunc(fields, func(a, b form.Field) int { return strings.Compare(a.Var, b.Var) })
		all := []string{name}
		for _, f := range fields {
			clean(f.Var)
			clean(f.Values...)
			slices.Sort(f.Values)
			all = append(append(all, f.Var), f.Values...)
		}
		forms[name] = all
	}
	for _, name := range slices.Sorted(maps.Keys(forms)) {
		parts = append(parts, forms[name]...)
	}
	if !ok {
		return "", false
	}
	sum := h()
	for _, p := range parts {
		sum.Write([]byte(p))
		sum.Write([]byte{'<'})
	}
	return base64.StdEncoding.EncodeToString(sum.Sum(nil)), true
}
