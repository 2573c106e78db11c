package siptest

import (
	"slices"
	"strconv"
	"strings"
	"time"

	sipgo "github.com/emiago/sipgo/sip"

	"github.com/hoorn-phone/hoorn/internal/sipwire"
	"github.com/hoorn-phone/hoorn/internal/transaction"
	"github.com/hoorn-phone/hoorn/internal/transport"
)

// maxContacts bounds the Contacts of one REGISTER.
const maxContacts = 16

// register is a REGISTER being answered (RFC 3261 §10.3).
type register struct {
	l    *life
	s    *transaction.Server
	req  *sipgo.Request
	flow *transport.Flow
	user *User

	bindings []*binding // as they will be
	granted  time.Duration
	outbound bool
}

func (l *life) register(now time.Time, s *transaction.Server) {
	req := s.Request()
	to := req.To()
	if to == nil || !l.ours(&to.Address) {
		l.respond(now, s, sipgo.StatusNotFound)
		return
	}
	who, ok := l.authenticate(now, s)
	if !ok {
		return
	}
	switch u := l.srv.users.find(to.Address.User); {
	case u == nil:
		l.respond(now, s, sipgo.StatusNotFound)
		return
	case u != who.user:
		l.respond(now, s, sipgo.StatusForbidden)
		return
	}
	r := &register{l: l, s: s, req: req, flow: s.Flow().(*transport.Flow), user: who.user}
	r.bindings = l.srv.loc.of(who.user, now)
	if status, headers := r.update(now); status != sipgo.StatusOK {
		l.respond(now, s, status, headers...)
		return
	}
	before := l.srv.loc.of(who.user, now)
	l.srv.loc.set(who.user, r.bindings)
	l.respondRegistered(now, r, who.info)
	l.lightNew(now, who.user, before, r.bindings)
}

// ours tells whether a URI is at the lab's domain or address.
func (l *life) ours(uri *sipgo.Uri) bool {
	return strings.EqualFold(uri.Host, l.cfg.Domain) || strings.Trim(uri.Host, "[]") == l.cfg.Addr
}

// update applies the Contacts. All of them count, or none.
func (r *register) update(now time.Time) (status int, headers []sipgo.Header) {
	contacts := sipwire.Contacts(r.req)
	if len(contacts) > maxContacts {
		return sipgo.StatusBadRequest, nil
	}
	if len(contacts) == 1 && contacts[0].Address.Wildcard {
		if d, ok := sipwire.Seconds(r.req, "Expires"); !ok || d != 0 {
			return sipgo.StatusBadRequest, nil
		}
		r.bindings = nil
		return sipgo.StatusOK, nil
	}
	for _, c := range contacts {
		if c.Address.Wildcard {
			return sipgo.StatusBadRequest, nil
		}
		b := r.binding(c)
		asked := r.asked(c)
		if least := r.l.cfg.Registrar.MinExpires; asked > 0 && asked < least {
			return sipgo.StatusIntervalToBrief, []sipgo.Header{seconds("Min-Expires", least)}
		}
		old := slices.IndexFunc(r.bindings, func(x *binding) bool {
			return x.key == b.key || b.regID == "" && sipwire.SameURI(&x.contact, &b.contact)
		})
		if old >= 0 {
			o := r.bindings[old]
			if o.callID == b.callID && o.cseq >= b.cseq {
				// A request that was overtaken (RFC 3261 §10.3 step 7).
				return sipgo.StatusInternalServerError, nil
			}
			if o.callID == b.callID {
				b.temp = o.temp // they live as long as the Call-ID (RFC 5627 §5.2)
			}
			r.bindings = slices.Delete(r.bindings, old, old+1)
		}
		if asked == 0 {
			continue
		}
		if len(r.bindings) >= maxBindings {
			return sipgo.StatusServiceUnavailable, nil
		}
		r.granted = min(asked, r.l.cfg.Registrar.MaxExpires)
		b.expires = now.Add(r.granted)
		r.outbound = r.outbound || b.regID != ""
		if r.gruu() && b.instance != "" {
			b.temp = append(slices.Clone(b.temp), "tgruu."+r.l.ep.ID(20))
			if len(b.temp) > maxTempGRUUs {
				b.temp = b.temp[1:]
			}
		}
		r.bindings = append(r.bindings, b)
	}
	return sipgo.StatusOK, nil
}

// maxTempGRUUs bounds the temporary GRUUs of a device that are still good.
const maxTempGRUUs = 16

func (r *register) gruu() bool {
	return r.l.cfg.Registrar.GRUU && sipwire.HasToken(r.req, "Supported", "gruu")
}

// asked is the lifetime that a Contact asks for (RFC 3261 §10.2.1.1).
func (r *register) asked(c *sipgo.ContactHeader) time.Duration {
	if v, ok := sipwire.Param(c.Params, "expires"); ok {
		if d, ok := sipwire.ParseSeconds(v); ok {
			return d
		}
	}
	if d, ok := sipwire.Seconds(r.req, "Expires"); ok {
		return d
	}
	return time.Hour
}

func (r *register) binding(c *sipgo.ContactHeader) *binding {
	b := &binding{user: r.user, contact: *c.Address.Clone(), flow: r.flow, place: placeOf(r.flow)}
	for _, p := range c.Params {
		if !strings.EqualFold(p.K, "expires") {
			b.params = append(b.params, p)
		}
	}
	instance, _ := sipwire.Param(c.Params, "+sip.instance")
	b.instance = strings.Trim(instance, "<>")
	if id, ok := sipwire.Param(c.Params, "reg-id"); ok && b.instance != "" && !r.l.cfg.Registrar.NoOutbound {
		// The client is directly behind us, as there is no other Via
		// (RFC 5626 §5.1), or a proxy before us has put itself on the path.
		b.regID = id
	}
	b.key = deviceKey(&b.contact, b.instance, b.regID)
	if id := r.req.CallID(); id != nil {
		b.callID = string(*id)
	}
	if cseq := r.req.CSeq(); cseq != nil {
		b.cseq = cseq.SeqNo
	}
	for p := range sipwire.Values(r.req, "Path") {
		if len(b.path) < maxContacts {
			b.path = append(b.path, p)
		}
	}
	return b
}

func (l *life) respondRegistered(now time.Time, r *register, info []sipgo.Header) {
	res := sipwire.ResponseTo(r.req, sipgo.StatusOK, "", l.tag())
	r.keep(res)
	for _, b := range r.bindings {
		res.AppendHeader(l.registered(now, b, r.gruu()))
	}
	if r.granted > 0 {
		res.AppendHeader(seconds("Expires", r.granted))
	}
	if r.outbound {
		// RFC 5626 §6: "Require" tells that outbound is in use.
		res.AppendHeader(sipgo.NewHeader("Require", "outbound"))
		if t := l.cfg.Registrar.FlowTimer; t > 0 {
			res.AppendHeader(seconds("Flow-Timer", t))
		}
	}
	for _, h := range r.req.GetHeaders("Path") {
		res.AppendHeader(h) // RFC 3327 §5.3
	}
	if l.cfg.Registrar.ServiceRoute {
		host, port := r.flow.Via()
		res.AppendHeader(sipgo.NewHeader("Service-Route",
			"<sip:"+host+":"+strconv.Itoa(port)+";transport="+string(r.flow.Proto())+";lr>"))
	}
	res.AppendHeader(sipgo.NewHeader("P-Associated-URI", r.user.associated(l.cfg.Domain)))
	for _, h := range info {
		res.AppendHeader(h)
	}
	decorate(res)
	r.s.Respond(now, res)
}

// keep grants keep-alives where outbound is not in use to arrange them
// (RFC 6223 §4.3): the answers are the transport's.
func (r *register) keep(res *sipgo.Response) {
	via := res.Via()
	if r.outbound || via == nil {
		return
	}
	for i, p := range via.Params {
		if strings.EqualFold(p.K, "keep") && p.V == "" {
			every := r.l.cfg.Registrar.FlowTimer
			if every <= 0 {
				every = defaultKeep
			}
			c := via.Clone()
			c.Params[i].V = strconv.Itoa(int(every / time.Second))
			res.ReplaceHeader(c)
			return
		}
	}
}

// registered is a binding as the 2xx lists it.
func (l *life) registered(now time.Time, b *binding, gruu bool) sipgo.Header {
	params := slices.Clone(b.params)
	left := (b.expires.Sub(now) + time.Second - 1) / time.Second
	params = append(params, sipgo.HeaderKV{K: "expires", V: strconv.FormatInt(int64(left), 10)})
	if gruu && b.instance != "" && len(b.temp) > 0 {
		params = append(params,
			sipgo.HeaderKV{K: "pub-gruu", V: sipwire.Quote("sip:" + b.user.Name + "@" + l.cfg.Domain + ";gr=" + b.instance)},
			sipgo.HeaderKV{K: "temp-gruu", V: sipwire.Quote("sip:" + b.temp[len(b.temp)-1] + "@" + l.cfg.Domain + ";gr")})
	}
	return &sipgo.ContactHeader{Address: b.contact, Params: params}
}

func (u *User) associated(domain string) string {
	s := "<sip:" + u.Name + "@" + domain + ">"
	if u.Number != "" {
		s += ",<sip:" + u.Number + "@" + domain + ";user=phone>"
	}
	return s
}

func seconds(name string, d time.Duration) sipgo.Header {
	return sipgo.NewHeader(name, strconv.FormatInt(int64(d/time.Second), 10))
}
