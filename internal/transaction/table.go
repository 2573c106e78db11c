package transaction

import (
	"errors"
	"hash/maphash"
	"strings"
	"time"

	sipgo "github.com/emiago/sipgo/sip"

	"github.com/hoorn-phone/hoorn/internal/sipwire"
	"github.com/hoorn-phone/hoorn/internal/timerq"
)

// Flow is what a message travels on: a connection, or the pair of a UDP
// socket and a remote address. Flows are compared, so they are pointers.
type Flow interface {
	// Reliable tells whether the transport retransmits by itself.
	Reliable() bool
}

// Config has the constants of a table. Zero values mean the defaults.
type Config struct {
	T1 time.Duration // round-trip estimate, default 500 ms
	T2 time.Duration // longest retransmission interval except for INVITE requests, default 4 s
	T4 time.Duration // longest time a message stays in the network, default 5 s

	// MaxServer bounds the server transactions that have no final response
	// yet; ten times as many may linger after theirs, which takes little
	// memory. A request beyond that is answered with 503 without a
	// transaction. Default 100,000.
	MaxServer int
}

// trying is how long the user of an INVITE server transaction may be silent
// before the transaction sends 100 (RFC 3261 §17.2.1).
const trying = 200 * time.Millisecond

// maxLingering is how many server transactions there may be for each that
// may wait for its final response: at 3,000 calls a second over UDP, the 32 s of
// Timers J and L make 192,000 of them.
const maxLingering = 10

// Errors of transactions.
var (
	// ErrTimeout says that no final response came in time (Timer B or F, or
	// 64*T1 after a CANCEL), or that a server transaction was not answered by
	// its user within the life of the client's.
	ErrTimeout error = timeoutError{}

	// ErrNoAck says that a final response other than 2xx to an INVITE was not
	// acknowledged in time (Timer H).
	ErrNoAck = errors.New("transaction: no ACK")

	// ErrBadRequest says that a request cannot start a client transaction:
	// it is an ACK or CANCEL, or lacks a Via with a branch of RFC 3261, or CSeq.
	ErrBadRequest = errors.New("transaction: request cannot start a transaction")

	// ErrBranchInUse says that a client transaction with this branch exists.
	ErrBranchInUse = errors.New("transaction: branch in use")
)

type timeoutError struct{}

func (timeoutError) Error() string   { return "transaction: timeout" }
func (timeoutError) Timeout() bool   { return true }
func (timeoutError) Temporary() bool { return false }

// Sink is where a table hands what is not for the user of one transaction.
type Sink interface {
	// Send puts a message on a flow. It does not block. A failure is told
	// through FlowFailed or SendFailed.
	Send(now time.Time, f Flow, m sipgo.Message)

	// Request hands over a new request. A CANCEL has a transaction of its
	// own; its Cancels says which INVITE it is for.
	Request(now time.Time, s *Server)

	// Ack hands over an ACK that is not for a response other than 2xx: it
	// acknowledges a 2xx, or nothing.
	Ack(now time.Time, f Flow, ack *sipgo.Request)

	// Stray hands over a response that belongs to no transaction, or to one
	// that has no user any more.
	Stray(now time.Time, f Flow, r *sipgo.Response)
}

// Table holds the transactions of one loop.
type Table struct {
	q    *timerq.Queue
	cfg  Config
	sink Sink

	clients map[string]*Client // by branch, CANCELs apart
	cancels map[string]*Client // the CANCELs, by the branch they share with their INVITE
	servers map[string]*Server // by serverKey
	similar map[uint64]int     // number of server transactions by mergeHash
	open    int                // server transactions without a final response

	// waiting is the ring of client transactions without a final response.
	waiting Client

	seed maphash.Seed
	buf  []byte // scratch for keys
	wire []byte // scratch for messages to be kept
}

// New makes a table whose timers wait on q.
func New(q *timerq.Queue, cfg Config, sink Sink) *Table {
	if cfg.T1 <= 0 {
		cfg.T1 = 500 * time.Millisecond
	}
	if cfg.T2 <= 0 {
		cfg.T2 = 4 * time.Second
	}
	if cfg.T4 <= 0 {
		cfg.T4 = 5 * time.Second
	}
	if cfg.MaxServer <= 0 {
		cfg.MaxServer = 100_000
	}
	t := &Table{
		q: q, cfg: cfg, sink: sink,
		clients: make(map[string]*Client),
		cancels: make(map[string]*Client),
		servers: make(map[string]*Server),
		similar: make(map[uint64]int),
		seed:    maphash.MakeSeed(),
	}
	t.waiting.next, t.waiting.prev = &t.waiting, &t.waiting
	return t
}

// Len is the number of transactions that exist.
func (t *Table) Len() (clients, servers int) {
	return len(t.clients) + len(t.cancels), len(t.servers)
}

// Send starts a client transaction: it sends the request, which has to be
// complete, its top Via with a new branch included. A CANCEL is sent by
// [Client.Cancel], an ACK has no transaction. The request must not be changed
// afterwards. With an error nothing was sent.
func (t *Table) Send(now time.Time, f Flow, req *sipgo.Request, u ClientUser) (*Client, error) {
	branch := sipwire.TopBranch(req)
	if req.Method == sipgo.ACK || req.Method == sipgo.CANCEL || !hasCookie(branch) || req.CSeq() == nil {
		return nil, ErrBadRequest
	}
	if t.clients[branch] != nil {
		return nil, ErrBranchInUse
	}
	branch = strings.Clone(branch) // it outlives the request
	c := &Client{t: t, flow: f, req: req, user: u, branch: branch, invite: req.Method == sipgo.INVITE}
	t.clients[branch] = c
	c.start(now)
	return c, nil
}

// Receive takes in a message from a flow.
func (t *Table) Receive(now time.Time, f Flow, m sipgo.Message) {
	switch m := m.(type) {
	case *sipgo.Response:
		t.receiveResponse(now, f, m)
	case *sipgo.Request:
		t.receiveRequest(now, f, m)
	}
}

// receiveResponse matches by the branch of the top Via and the method of the
// CSeq (RFC 3261 §17.1.3).
func (t *Table) receiveResponse(now time.Time, f Flow, r *sipgo.Response) {
	cseq := r.CSeq()
	if cseq == nil {
		return
	}
	branch := sipwire.TopBranch(r)
	var c *Client
	if cseq.MethodName == sipgo.CANCEL {
		c = t.cancels[branch]
	} else if c = t.clients[branch]; c != nil && (cseq.MethodName == sipgo.INVITE) != c.invite {
		c = nil
	}
	if c == nil || c.req != nil && cseq.MethodName != c.req.Method {
		t.sink.Stray(now, f, r)
		return
	}
	c.receive(now, f, r)
}

func (t *Table) receiveRequest(now time.Time, f Flow, req *sipgo.Request) {
	if req.Via() == nil || req.CSeq() == nil {
		return
	}
	if req.Method == sipgo.ACK {
		if s := t.findAcked(req); s == nil || !s.acked(now, f, req) {
			t.sink.Ack(now, f, req)
		}
		return
	}
	key := t.serverKey(req, req.Method, sipwire.ToTag(req))
	if s := t.servers[string(key)]; s != nil {
		s.repeated(now)
		return
	}
	stored := string(key)
	var cancels *Server
	if req.Method == sipgo.CANCEL {
		// RFC 3261 §9.2: the transaction the CANCEL would belong to, were its
		// method another one.
		cancels = t.servers[string(t.serverKey(req, sipgo.INVITE, sipwire.ToTag(req)))]
	}
	// A CANCEL for something that exists may pass the bound: there is one for
	// each INVITE at most.
	if (t.open >= t.cfg.MaxServer || len(t.servers) >= maxLingering*t.cfg.MaxServer) && cancels == nil {
		t.refuse(now, f, req)
		return
	}
	s := &Server{t: t, flow: f, req: req, key: stored, cancels: cancels, invite: req.Method == sipgo.INVITE}
	t.servers[stored] = s
	t.open++
	if mergeable(req) {
		s.similar = t.mergeHash(req)
		t.similar[s.similar]++
	}
	s.start(now)
	t.sink.Request(now, s)
}

// refuse answers without state. The To tag is a function of the request, so
// that retransmissions get the same (RFC 3261 §8.2.7).
func (t *Table) refuse(now time.Time, f Flow, req *sipgo.Request) {
	var h maphash.Hash
	h.SetSeed(t.seed)
	h.Write(t.serverKey(req, req.Method, ""))
	res := sipwire.ResponseTo(req, 503, "", hexTag(h.Sum64()))
	// By then what lingers now is gone.
	res.AppendHeader(sipgo.NewHeader("Retry-After", seconds(64*t.cfg.T1)))
	t.sink.Send(now, f, res)
}

// keep is the wire form of a message, to be sent again by resend.
func (t *Table) keep(m sipgo.Message) []byte {
	t.wire = sipwire.Append(t.wire[:0], m)
	b := make([]byte, len(t.wire))
	copy(b, t.wire)
	if cap(t.wire) > 16<<10 {
		t.wire = nil // an unusual one
	}
	return b
}

// resend sends again what was kept.
func (t *Table) resend(now time.Time, f Flow, b []byte) {
	if m, err := sipwire.Parse(b, false); err == nil {
		t.sink.Send(now, f, m)
	}
}

// FlowFailed ends the client transactions on f that have no final response
// yet; their users are told err. Server transactions stay: a response may
// still go another way (SetFlow).
func (t *Table) FlowFailed(now time.Time, f Flow, err error) {
	var failed []*Client
	for c := t.waiting.next; c != &t.waiting; c = c.next {
		if c.flow == f {
			failed = append(failed, c)
		}
	}
	for _, c := range failed {
		c.fail(now, err)
	}
}

// SendFailed says that a message given to Sink.Send could not be sent. It
// ends the client transaction of a request; it does nothing for a response
// and for what has a final response.
func (t *Table) SendFailed(now time.Time, m sipgo.Message, err error) {
	req, ok := m.(*sipgo.Request)
	if !ok {
		return
	}
	set := t.clients
	if req.Method == sipgo.CANCEL {
		set = t.cancels
	}
	if c := set[sipwire.TopBranch(req)]; c != nil && c.req != nil && c.req.Method == req.Method {
		c.fail(now, err)
	}
}

// Merged tells whether req came here a second time over another path: a
// server transaction with another branch has the same From tag, Call-ID and
// CSeq, and req has no To tag (RFC 3261 §8.2.2.2). Such a request is answered
// with 482.
func (t *Table) Merged(req *sipgo.Request) bool {
	if !mergeable(req) {
		return false
	}
	h := t.mergeHash(req)
	others := t.similar[h]
	if s := t.servers[string(t.serverKey(req, req.Method, ""))]; s != nil && s.similar == h {
		others--
	}
	return others > 0
}

func mergeable(req *sipgo.Request) bool {
	return req.Method != sipgo.CANCEL && req.Method != sipgo.ACK && req.CSeq() != nil && sipwire.ToTag(req) == ""
}

// mergeHash is never 0, which stands for none.
func (t *Table) mergeHash(req *sipgo.Request) uint64 {
	var h maphash.Hash
	h.SetSeed(t.seed)
	h.WriteString(sipwire.FromTag(req))
	h.WriteByte(0)
	if id := req.CallID(); id != nil {
		h.WriteString(string(*id))
	}
	h.WriteByte(0)
	cseq := req.CSeq()
	h.WriteString(string(cseq.MethodName))
	var n [4]byte
	n[0], n[1], n[2], n[3] = byte(cseq.SeqNo>>24), byte(cseq.SeqNo>>16), byte(cseq.SeqNo>>8), byte(cseq.SeqNo)
	h.Write(n[:])
	return h.Sum64() | 1
}
