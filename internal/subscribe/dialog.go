package subscribe

import (
	"slices"
	"strconv"

	sipgo "github.com/emiago/sipgo/sip"

	"github.com/hoorn-phone/hoorn/internal/sipwire"
	"github.com/hoorn-phone/hoorn/internal/transaction"
)

// dialog is that of one subscription (RFC 6665 §4.4.1).
type dialog struct {
	flow      transaction.Flow
	id        string
	localTag  string
	remoteTag string

	localURI, remoteURI   sipgo.Uri
	localName, remoteName string
	target                sipgo.Uri
	routes                []string // in the order of our Route headers
	localCSeq             uint32
	remoteCSeq            uint32
	haveRemoteCSeq        bool
}

// fromRequest fills in what a request that makes the dialog says of its sender
// (RFC 3261 §12.1.1). A NOTIFY makes the dialog on the subscriber's side too,
// whether the response to the SUBSCRIBE has come or not.
func (d *dialog) fromRequest(flow transaction.Flow, req *sipgo.Request) {
	d.flow = flow
	if id := req.CallID(); id != nil {
		d.id = string(*id)
	}
	d.remoteTag = sipwire.FromTag(req)
	if to := req.To(); to != nil {
		d.localURI, d.localName = to.Address, to.DisplayName
	}
	if from := req.From(); from != nil {
		d.remoteURI, d.remoteName = from.Address, from.DisplayName
	}
	d.target = d.remoteURI
	d.routes = slices.Collect(sipwire.Values(req, "Record-Route"))
}

// retarget takes the peer's Contact (RFC 6665 §4.4.1: SUBSCRIBE and NOTIFY are
// target refresh requests).
func (d *dialog) retarget(m interface{ Contact() *sipgo.ContactHeader }) {
	if c := m.Contact(); c != nil && c.Address.Host != "" {
		d.target = *c.Address.Clone()
	}
}

// sequence checks the number of a request from the peer (RFC 3261 §12.2.2).
func (d *dialog) sequence(req *sipgo.Request) bool {
	cseq := req.CSeq()
	if cseq == nil || d.haveRemoteCSeq && cseq.SeqNo < d.remoteCSeq {
		return false
	}
	d.remoteCSeq, d.haveRemoteCSeq = cseq.SeqNo, true
	return true
}

// request makes a request within the dialog, or the one that is to make it
// (RFC 3261 §12.2.1.1, §8.1.1).
func (d *dialog) request(env Env, method sipgo.RequestMethod) *sipgo.Request {
	d.localCSeq++
	target, routes := sipwire.RouteTo(d.target, d.routes)
	req := sipgo.NewRequest(method, target)
	for _, r := range routes {
		req.AppendHeader(sipgo.NewHeader("Route", r))
	}
	maxForwards := sipgo.MaxForwardsHeader(70)
	req.AppendHeader(&maxForwards)
	req.AppendHeader(&sipgo.FromHeader{DisplayName: d.localName, Address: d.localURI, Params: sipgo.HeaderParams{{K: "tag", V: d.localTag}}})
	to := &sipgo.ToHeader{DisplayName: d.remoteName, Address: d.remoteURI}
	if d.remoteTag != "" {
		to.Params = sipgo.HeaderParams{{K: "tag", V: d.remoteTag}}
	}
	req.AppendHeader(to)
	id := sipgo.CallIDHeader(d.id)
	req.AppendHeader(&id)
	req.AppendHeader(&sipgo.CSeqHeader{SeqNo: d.localCSeq, MethodName: method})
	if c := env.Contact(d.flow); c != nil {
		req.AppendHeader(c)
	}
	env.Decorate(req)
	return req
}

func setBody(m sipgo.Message, contentType string, body []byte) {
	if len(body) == 0 {
		return
	}
	ct := sipgo.ContentTypeHeader(contentType)
	m.AppendHeader(&ct)
	m.SetBody(body)
}

// referID is the id of the subscription that the latest request, a REFER, has
// made (RFC 3515 §2.4.6).
func (d *dialog) referID() string { return strconv.FormatUint(uint64(d.localCSeq), 10) }
