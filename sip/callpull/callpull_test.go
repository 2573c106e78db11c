package callpull

import (
	"context"
	"errors"
	"slices"
	"strconv"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	sipgo "github.com/emiago/sipgo/sip"

	"github.com/hoorn-phone/hoorn/internal/sipwire"
	"github.com/hoorn-phone/hoorn/sip"
)

// RFC 4235: the calls on other devices, and those alone.
func TestWatch(t *testing.T) {
	bubble(t, "listed, changed, own ones left out", func(t *testing.T, s *server) {
		start := time.Now()
		w, sub := s.watch(nil, info+`version="0" state="full">`+desk+
			`<dialog id="d2"><state>early</state><local><target uri="sip:alice@example.com;gr=urn:uuid:00000000-0000-1000-8000-000a95a0e128"/></local></dialog></dialog-info>`)
		if got := sipwire.FormatURI(&sub.Recipient); got != "sip:alice@example.com" || sipwire.Header(sub, "Event") != "dialog" || sipwire.Header(sub, "Accept") != "application/dialog-info+xml" {
			t.Errorf("%v", sub)
		}
		calls := w.Calls()
		if len(calls) != 1 {
			t.Fatalf("calls %+v", calls)
		}
		since := start.Add(-time.Minute).Sub(calls[0].Since).Abs()
		if c := calls[0]; c.Remote != (sip.Party{URI: "sip:bob@example.com", Name: "Bob"}) || c.Device != "sip:alice@example.com;gr=urn:uuid:desk" || !c.Held ||
			since > time.Second || c.State != "confirmed" || c.Direction != sip.Incoming || c.Dialog != (sip.Dialog{CallID: "c1", LocalTag: "desks", RemoteTag: "bobs"}) {
			t.Errorf("%+v", c)
		}
		pass(time.Minute)
		s.notify(sub, info+`version="1" state="partial"><dialog id="d3"><state>early</state></dialog></dialog-info>`)
		if got := w.Calls(); len(got) != 2 || got[1].State != "early" || got[0] != calls[0] {
			t.Errorf("%+v", got)
		}
		// Of somebody else, from before, and what cannot be read: passed over.
		for _, doc := range []string{strings.Replace(info, "alice", "eve", 1) + `version="2" state="full"/>`, info + `version="0" state="full"/>`, "<!DOCTYPE x>"} {
			s.notify(sub, doc)
			if got := w.Calls(); len(got) != 2 {
				t.Errorf("after %s: %+v", doc, got)
			}
		}
		s.notify(sub, info+`version="2" state="partial"><dialog id="d1"><state event="local-bye">terminated</state></dialog></dialog-info>`)
		if got := w.Calls(); len(got) != 1 || got[0].State != "early" {
			t.Errorf("%+v", got)
		}
	})
	bubble(t, "§4.3: a document that is missing is asked for", func(t *testing.T, s *server) {
		w, sub := s.watch(nil, info+`version="0" state="full">`+desk+`</dialog-info>`)
		s.notify(sub, info+`version="2" state="partial"><dialog id="d1"><state>terminated</state></dialog></dialog-info>`)
		s.reply(s.request("SUBSCRIBE"), 200, "", "Expires: 3600")
		if len(w.Calls()) != 1 {
			t.Errorf("%+v", w.Calls())
		}
		s.notify(sub, info+`version="3" state="full"/>`)
		if len(w.Calls()) != 0 {
			t.Errorf("%+v", w.Calls())
		}
	})
	bubble(t, "tags that are left out once the call is answered are those said before", func(t *testing.T, s *server) {
		early := func(id, remote string) string {
			return `<dialog id="` + id + `" call-id="c-` + id + `" local-tag="desks" remote-tag="` + remote + `"><state>early</state></dialog>`
		}
		confirmed := func(id, callID string) string {
			return `<dialog id="` + id + `"` + callID + `><state>confirmed</state></dialog>`
		}
		tags := func(callID, remote string) sip.Dialog {
			return sip.Dialog{CallID: callID, LocalTag: "desks", RemoteTag: remote}
		}
		w, sub := s.watch(nil, info+`version="0" state="full">`+early("a", "bobs")+early("b", "carols")+`</dialog-info>`)
		for i, step := range []struct {
			state, dialogs string
			want           []sip.Dialog
		}{
			{"full", confirmed("a", ` call-id="c-a"`) + early("b", "carols"), []sip.Dialog{tags("c-a", "bobs"), tags("c-b", "carols")}},
			{"partial", confirmed("b", ""), []sip.Dialog{tags("c-a", "bobs"), tags("c-b", "carols")}},
			// Another call under the same id, which the end of the former may have been.
			{"partial", confirmed("b", ` call-id="other"`), []sip.Dialog{tags("c-a", "bobs"), {CallID: "other"}}},
			// The end of a call is also that of what was known of it.
			{"partial", `<dialog id="a"><state>terminated</state></dialog>`, []sip.Dialog{{CallID: "other"}}},
			{"full", confirmed("a", ` call-id="c-a"`), []sip.Dialog{{CallID: "c-a"}}},
			{"full", "", nil},
			// Which of two early dialogs is answered is not known, but if it is said.
			{"full", early("f", "bobs"), []sip.Dialog{tags("c-f", "bobs")}},
			{"full", early("f", "daves"), []sip.Dialog{tags("c-f", "daves")}},
			{"full", confirmed("f", ""), []sip.Dialog{{CallID: "c-f"}}},
			{"full", strings.Replace(early("f", "bobs"), "early", "confirmed", 1), []sip.Dialog{tags("c-f", "bobs")}},
			{"full", confirmed("f", ""), []sip.Dialog{tags("c-f", "bobs")}},
		} {
			s.notify(sub, info+`version="`+strconv.Itoa(i+1)+`" state="`+step.state+`">`+step.dialogs+`</dialog-info>`)
			var got []sip.Dialog
			for _, c := range w.Calls() {
				got = append(got, c.Dialog)
			}
			if !slices.Equal(got, step.want) {
				t.Errorf("step %d: %+v, want %+v", i+1, got, step.want)
			}
		}
	})
	bubble(t, "Changes begins with what there is, and ends", func(t *testing.T, s *server) {
		w, sub := s.watch(nil, info+`version="0" state="full">`+desk+`</dialog-info>`)
		var lens []int
		for calls := range w.Changes(t.Context()) {
			if lens = append(lens, len(calls)); len(lens) == 1 {
				s.notify(sub, info+`version="1" state="full"/>`)
			} else {
				break
			}
		}
		if len(lens) != 2 || lens[0] != 1 || lens[1] != 0 {
			t.Errorf("%v", lens)
		}
		done := make(chan error, 1)
		go func() { done <- w.Close(t.Context()) }()
		s.reply(s.request("SUBSCRIBE"), 481, "")
		if err := <-done; err != nil || w.Wait(t.Context()) != nil {
			t.Error(err)
		}
		for range w.Changes(t.Context()) {
			lens = append(lens, 0)
		}
		if len(lens) != 3 {
			t.Error("Changes goes on after the end")
		}
	})
	bubble(t, "refused", func(t *testing.T, s *server) {
		done := make(chan error, 1)
		go func() {
			_, err := Watch(t.Context(), s.ua, nil)
			done <- err
		}()
		s.reply(s.request("SUBSCRIBE"), 489, "")
		var status *sip.StatusError
		if err := <-done; !errors.As(err, &status) || status.Code != 489 {
			t.Error(err)
		}
	})
}

func pass(d time.Duration) {
	<-time.After(d)
	synctest.Wait()
}

type pulled struct {
	c   *sip.Call
	err error
}

func pull(ctx context.Context, w *Watcher, c Call) <-chan pulled {
	ch := make(chan pulled, 1)
	go func() {
		c, err := w.Pull(ctx, c, nil)
		ch <- pulled{c, err}
	}()
	return ch
}

const sdp = "v=0\r\no=- 1 1 IN IP4 10.0.0.2\r\ns=-\r\nc=IN IP4 10.0.0.2\r\nt=0 0\r\nm=audio 9 RTP/AVP 0\r\na=inactive\r\n"

func (s *server) accept(invite *sipgo.Request) {
	s.reply(invite, 200, sdp, "Content-Type: application/sdp")
	s.request("ACK")
}

func TestPull(t *testing.T) {
	doc := info + `version="0" state="full">` + desk + `</dialog-info>`
	bubble(t, "RFC 3891: by Replaces, to the far end", func(t *testing.T, s *server) {
		w, _ := s.watch(nil, doc)
		done := pull(t.Context(), w, w.Calls()[0])
		invite := s.request("INVITE")
		if got := sipwire.FormatURI(&invite.Recipient); got != "sip:bob@192.0.2.7" {
			t.Error("Request-URI", got)
		}
		// As the far end sees it: the to-tag is its own.
		if got := sipwire.Header(invite, "Replaces"); got != "c1;to-tag=bobs;from-tag=desks" || !sipwire.HasToken(invite, "Require", "replaces") {
			t.Errorf("Replaces: %s", got)
		}
		s.accept(invite)
		if got := <-done; got.err != nil || got.c.State() != sip.CallEstablished {
			t.Error(got.err)
		}
	})
	bubble(t, "by the access code", func(t *testing.T, s *server) {
		w, _ := s.watch(&Config{Method: Code, Code: "*99"}, doc)
		done := pull(t.Context(), w, Call{})
		invite := s.request("INVITE")
		if got := sipwire.FormatURI(&invite.Recipient); got != "sip:*99@example.com" || sipwire.Header(invite, "Replaces") != "" {
			t.Error("Request-URI", got)
		}
		s.accept(invite)
		if got := <-done; got.err != nil {
			t.Error(got.err)
		}
	})
	bubble(t, "by the code where the other side cannot do Replaces, or the dialog is unknown", func(t *testing.T, s *server) {
		w, _ := s.watch(&Config{Target: func(Call) string { return "sip:server.example.com" }}, doc)
		done := pull(t.Context(), w, w.Calls()[0])
		invite := s.request("INVITE")
		if got := sipwire.FormatURI(&invite.Recipient); got != "sip:server.example.com" {
			t.Error("Request-URI", got)
		}
		s.reply(invite, 420, "", "Unsupported: replaces")
		s.request("ACK")
		invite = s.request("INVITE")
		if got := sipwire.FormatURI(&invite.Recipient); got != "sip:*11@example.com" {
			t.Error("Request-URI", got)
		}
		s.accept(invite)
		if got := <-done; got.err != nil {
			t.Error(got.err)
		}
		done = pull(t.Context(), w, Call{Dialog: sip.Dialog{CallID: "c1"}})
		invite = s.request("INVITE")
		if got := sipwire.FormatURI(&invite.Recipient); got != "sip:*11@example.com" {
			t.Error("Request-URI", got)
		}
		s.accept(invite)
		<-done
	})
}

// In each failure the call lives on where it was: nothing but the INVITE was
// sent, and the list is as before.
func TestPullRefused(t *testing.T) {
	doc := info + `version="0" state="full">` + desk + `</dialog-info>`
	for _, tt := range []struct {
		method Method
		status int
		want   error
	}{
		{Code, 404, ErrNoCall}, {Code, 480, ErrNoCall}, {Code, 485, ErrSeveralCalls}, {Code, 486, ErrSeveralCalls},
		{Code, 403, ErrForbidden}, {Code, 410, ErrGone}, {Code, 481, ErrGone}, {Code, 487, ErrGone}, {Code, 500, nil}, {Code, 488, ErrForbidden},
		{Replaces, 481, ErrGone}, {Replaces, 603, ErrGone}, {Replaces, 403, ErrForbidden}, {Replaces, 486, nil}, {Replaces, 420, nil},
		{Auto, 481, ErrGone},
	} {
		bubble(t, tt.method.String()+" "+sipwire.ReasonPhrase(tt.status), func(t *testing.T, s *server) {
			w, _ := s.watch(&Config{Method: tt.method, Errors: map[int]error{488: ErrForbidden}}, doc)
			before := w.Calls()
			done := pull(t.Context(), w, before[0])
			s.reply(s.request("INVITE"), tt.status, "")
			s.request("ACK")
			got := <-done
			var status *sip.StatusError
			if got.c != nil || !errors.As(got.err, &status) || status.Code != tt.status || tt.want != nil && !errors.Is(got.err, tt.want) {
				t.Errorf("%v", got.err)
			}
			for _, err := range []error{ErrNoCall, ErrSeveralCalls, ErrGone, ErrForbidden} {
				if err != tt.want && errors.Is(got.err, err) {
					t.Errorf("%v is also %v", got.err, err)
				}
			}
			s.quiet()
			if after := w.Calls(); len(after) != 1 || after[0] != before[0] {
				t.Errorf("the list is %+v", after)
			}
		})
	}
	bubble(t, "given up: CANCEL", func(t *testing.T, s *server) {
		w, _ := s.watch(nil, doc)
		ctx, cancel := context.WithCancel(t.Context())
		done := pull(ctx, w, w.Calls()[0])
		invite := s.request("INVITE")
		s.reply(invite, 100, "")
		synctest.Wait()
		cancel()
		s.reply(s.request("CANCEL"), 200, "")
		s.reply(invite, 487, "")
		s.request("ACK")
		if got := <-done; got.c != nil || !errors.Is(got.err, context.Canceled) {
			t.Error(got.err)
		}
	})
	bubble(t, "by Replaces alone, of a dialog that is not known", func(t *testing.T, s *server) {
		w, _ := s.watch(&Config{Method: Replaces}, doc)
		if _, err := w.Pull(t.Context(), Call{}, nil); !errors.Is(err, ErrNoCall) {
			t.Error(err)
		}
	})
}
