package archtest

import (
	"slices"
	"testing"
)

// forTests are packages made for tests: labs, scripted peers, throwaway certificates.
var forTests = []string{
	"./sip/siptest/...", "./media/mediatest/...", "./xmpp/xmpptest/...", "./xmpp/chat/storetest/...",
	"./internal/peertest/...", "./internal/testca/...", "./internal/memnet/...",
	"./internal/interop/...", "./internal/e2e/...", "./internal/archtest/...",
	"./internal/load/...", "./internal/xmppstage/...",
}

// rule forbids packages to import others.
type rule struct {
	name   string
	from   []string // the packages it is about
	except []string // and of these not
	to     []string // what they do not import
	but    []string // except this
	// through also forbids to import it by way of others.
	through bool
	why     string
}

var rules = []rule{
	{
		name: "signalling without media", from: []string{"./sip/..."}, except: forTests,
		to: []string{"./media/..."}, through: true,
		why: "sip and media meet in sip/offeranswer alone, so that a user can bring other media (WebRTC, nothing at all) and either can be tested without the other",
	},
	{
		name: "media without signalling", from: []string{"./media/..."}, except: forTests,
		to: []string{"./sip/..."}, but: []string{"./sip/offeranswer"}, through: true,
		why: "media and sip meet in sip/offeranswer alone, so that the engine serves any signalling",
	},
	{
		name: "offeranswer is a leaf", from: []string{"./sip/offeranswer"},
		to: []string{"ours"}, through: true,
		why: "both sip and media import it: anything it imported would tie the two together",
	},
	{
		name: "SIP without XMPP", from: []string{"./sip/..."}, except: forTests, to: []string{"./xmpp/..."}, through: true,
		why: "a phone must not carry a chat client; what both know goes to presence",
	},
	{
		name: "XMPP without SIP", from: []string{"./xmpp/..."}, except: forTests, to: []string{"./sip/...", "./media/..."}, through: true,
		why: "a messenger must not carry a phone; what both know goes to presence",
	},
	{
		name: "presence is a leaf", from: []string{"./presence"}, to: []string{"ours"}, through: true,
		why: "it holds types and rules that sip and xmpp share, and no I/O",
	},
	{
		name: "a parent does not know its SIP extensions", from: []string{"./sip"},
		to: []string{"./sip/..."}, but: []string{"./sip/offeranswer"}, through: true,
		why: "an extension package imports its parent; the reverse would make every user pay for every extension",
	},
	{
		name: "a parent does not know its XMPP extensions", from: []string{"./xmpp"}, to: []string{"./xmpp/..."}, but: []string{"./xmpp/xmltree"}, through: true,
		why: "an extension attaches to the client; the reverse would make every user pay for every extension",
	},
	{
		name: "extensions below chat", from: []string{"./xmpp/*"}, except: append([]string{"./xmpp/chat"}, forTests...),
		to: []string{"./xmpp/chat"}, through: true,
		why: "chat is built of the extensions: one that used chat could not serve it",
	},
	{
		name: "codecs do not know the engine", from: []string{"./media/*"}, except: append([]string{"./media/device"}, forTests...),
		to: []string{"./media"}, through: true,
		why: "the engine imports its codecs, and a user's own codec needs media/codec alone",
	},
	{
		name: "tools for tests stay out of the product", from: []string{"ours"}, except: append([]string{"./examples/..."}, forTests...),
		to: forTests, through: true,
		why: "a lab or a throwaway certificate authority must not reach a program that did not ask for it",
	},
	{
		name: "no testing in the product", from: []string{"ours"}, except: []string{"./internal/peertest/...", "./internal/interop/..."},
		to: []string{"testing", "testing/*"}, through: true,
		why: "packages for tests work from a program too (the demo runs the lab), and testing registers flags in it; only the harness for real peers may assume a test",
	},
	{
		name: "examples use what users can use", from: []string{"./examples/..."}, to: []string{"./internal/..."},
		why: "an example that needs an internal package shows an API that users do not have",
	},
	{
		name: "nobody imports examples", from: []string{"ours"}, except: []string{"./examples/..."}, to: []string{"./examples/..."},
		why: "what is worth sharing belongs into a package",
	},
}

func TestImports(t *testing.T) {
	all := load(t)
	for _, r := range rules {
		t.Run(r.name, func(t *testing.T) {
			for name, p := range all {
				if matchAny(r.from, name) && !matchAny(r.except, name) {
					for _, to := range r.violations(p) {
						t.Errorf("%s imports %s%s: %s", name, to, r.way(all, p, to), r.why)
					}
				}
			}
		})
	}
}

// violations returns what a package imports against the rule.
func (r *rule) violations(p *pkg) []string {
	imports := p.Imports
	if r.through {
		imports = p.Deps
	}
	var bad []string
	for _, to := range imports {
		if to != p.ImportPath && matchAny(r.to, to) && !matchAny(r.but, to) {
			bad = append(bad, to)
		}
	}
	return bad
}

// way tells through which package of ours the import came, if it is not direct.
func (r *rule) way(all map[string]*pkg, p *pkg, to string) string {
	if slices.Contains(p.Imports, to) {
		return ""
	}
	for _, i := range p.Imports {
		if q := all[i]; q != nil && slices.Contains(q.Deps, to) {
			return " (through " + i + ")"
		}
	}
	return " (through a dependency)"
}

// usesCgo are the packages that need a C compiler: each stands behind a build
// tag and says in a clear error what is missing without it.
var usesCgo = []string{"./media/device"}

func TestCgo(t *testing.T) {
	for name, p := range load(t) {
		if len(p.CgoFiles) > 0 && !matchAny(usesCgo, name) {
			t.Errorf("%s uses cgo (%v): the library builds with CGO_ENABLED=0 for every system; what needs C gets a package of its own", name, p.CgoFiles)
		}
	}
}

// TestRulesCanFail gives every rule a package that breaks it: a pattern with a slip would otherwise allow everything.
func TestRulesCanFail(t *testing.T) {
	for _, c := range []struct{ rule, from, to string }{
		{"signalling without media", "./sip", "./media"},
		{"signalling without media", "./sip/broadworks", "./media/opus"},
		{"media without signalling", "./media", "./sip"},
		{"offeranswer is a leaf", "./sip/offeranswer", "./internal/timerq"},
		{"SIP without XMPP", "./sip/mwi", "./xmpp"},
		{"XMPP without SIP", "./xmpp/muc", "./sip"},
		{"presence is a leaf", "./presence", "./sip"},
		{"a parent does not know its SIP extensions", "./sip", "./sip/broadworks"},
		{"a parent does not know its XMPP extensions", "./xmpp", "./xmpp/muc"},
		{"extensions below chat", "./xmpp/muc", "./xmpp/chat"},
		{"codecs do not know the engine", "./media/opus", "./media"},
		{"tools for tests stay out of the product", "./sip", "./sip/siptest"},
		{"tools for tests stay out of the product", "./media", "./internal/testca"},
		{"no testing in the product", "./sip/siptest", "testing"},
		{"examples use what users can use", "./examples/softphone", "./internal/call"},
		{"nobody imports examples", "./sip", "./examples/softphone"},
	} {
		i := slices.IndexFunc(rules, func(r rule) bool { return r.name == c.rule })
		if i < 0 {
			t.Errorf("no rule %q", c.rule)
			continue
		}
		r := rules[i]
		p := &pkg{ImportPath: c.from, Imports: []string{c.to}, Deps: []string{c.to}}
		if !matchAny(r.from, c.from) || matchAny(r.except, c.from) || len(r.violations(p)) != 1 {
			t.Errorf("%q lets %s import %s", c.rule, c.from, c.to)
		}
	}
	for _, r := range rules {
		if r.why == "" {
			t.Errorf("%q does not say why", r.name)
		}
	}
}
