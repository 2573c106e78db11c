package register

import (
	"strconv"
	"strings"
	"time"

	sipgo "github.com/emiago/sipgo/sip"

	"github.com/hoorn-phone/hoorn/internal/sipwire"
)

// request makes the REGISTER for what the machine is about to ask.
func (m *Machine) request(now time.Time) *sipgo.Request {
	to := m.cfg.Registrar
	to.User, to.Password, to.Headers = "", "", nil // RFC 3261 section 10.2
	req := sipgo.NewRequest(sipgo.REGISTER, to)

	req.AppendHeader(&sipgo.FromHeader{
		DisplayName: m.cfg.DisplayName,
		Address:     *m.cfg.AOR.Clone(),
		Params:      sipgo.HeaderParams{{K: "tag", V: m.cfg.FromTag}},
	})
	req.AppendHeader(&sipgo.ToHeader{DisplayName: m.cfg.DisplayName, Address: *m.cfg.AOR.Clone()})
	callID := sipgo.CallIDHeader(m.cfg.CallID)
	req.AppendHeader(&callID)
	req.AppendHeader(&sipgo.CSeqHeader{SeqNo: m.NextCSeq(), MethodName: sipgo.REGISTER})
	hops := sipgo.MaxForwardsHeader(70)
	req.AppendHeader(&hops)

	req.AppendHeader(&sipgo.ContactHeader{Address: m.contact, Params: m.contactParams()})
	if old := &m.binding; !m.removal && old.Expires.After(now) && !old.Outbound && !sipwire.SameURI(&old.Contact, &m.contact) {
		// The registrar would take the new URI for a second phone and ring
		// the old one in vain: one request replaces the binding (RFC 3261
		// section 10.2.2). With outbound the reg-id does that.
		req.AppendHeader(&sipgo.ContactHeader{
			Address: old.Contact,
			Params:  sipgo.HeaderParams{{K: "expires", V: "0"}},
		})
	}
	req.AppendHeader(sipgo.NewHeader("Expires", strconv.FormatInt(int64(m.asked/time.Second), 10)))

	var supported []string
	if !m.learned.noPath {
		supported = append(supported, "path")
	}
	if m.outbound() {
		supported = append(supported, "outbound") // RFC 5626 section 4.2.1: with path
	}
	if m.gruu() {
		supported = append(supported, "gruu") // RFC 5627 section 4.1
	}
	if len(supported) > 0 {
		req.AppendHeader(sipgo.NewHeader("Supported", strings.Join(supported, ", ")))
	}
	return req
}

// outbound and gruu tell what is asked for now.
func (m *Machine) outbound() bool {
	return m.cfg.Outbound && !m.learned.noOutbound && !m.learned.noPath
}
func (m *Machine) gruu() bool { return m.cfg.GRUU && !m.learned.noGRUU }

func (m *Machine) contactParams() sipgo.HeaderParams {
	var params sipgo.HeaderParams
	add := func(name, value string) {
		if value != "" && !sipwire.IsToken(value) {
			value = sipwire.Quote(value)
		}
		params = append(params, sipgo.HeaderKV{K: name, V: value})
	}
	if m.outbound() {
		add("reg-id", strconv.Itoa(m.cfg.RegID))
	}
	if m.cfg.Instance != "" {
		add("+sip.instance", "<"+m.cfg.Instance+">")
	}
	for _, p := range m.cfg.ContactParams {
		add(p.Name, p.Value)
	}
	return params
}

// withoutOb takes the ob parameter (RFC 5626 section 5.4) out of a URI.
func withoutOb(u sipgo.Uri) sipgo.Uri {
	u.UriParams = u.UriParams.Clone()
	u.UriParams.Remove("ob")
	return u
}
