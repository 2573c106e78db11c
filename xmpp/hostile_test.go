package xmpp

import (
	"context"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
)

// warnings counts what is worth a warning.
type warnings struct {
	slog.Handler
	mu   sync.Mutex
	list []string
}

func (w *warnings) Handle(ctx context.Context, r slog.Record) error {
	if r.Level >= slog.LevelWarn {
		w.mu.Lock()
		w.list = append(w.list, r.Message)
		w.mu.Unlock()
	}
	return nil
}

// Stanzas that no server should let through: each is left out and logged once, counts for stream management, and the stream goes on
// (RFC 6120 §11.1 to §11.3, XEP-0198 §4).
func TestHostile(t *testing.T) {
	deep := strings.Repeat("<a>", 5000) + strings.Repeat("</a>", 5000)
	for _, c := range []struct{ name, xml string }{
		{"10 MB", "<message><body>" + strings.Repeat("x", 10<<20) + "</body></message>"},
		{"10 MB of attribute", "<message id='" + strings.Repeat("x", 10<<20) + "'/>"},
		{"10 MB of elements", "<message>" + strings.Repeat("<a/>", 10<<18) + "</message>"},
		{"10 MB of text in the wrong place, in a comment", "<message><!--" + strings.Repeat("x", 10<<20) + "--></message>"},
		{"nested 5,000 deep", "<message>" + deep + "</message>"},
		{"100,000 attributes", "<message" + manyAttributes(100_000) + "/>"},
		{"a document type with entities in entities", "<message><!DOCTYPE lolz [<!ENTITY a 'lol'><!ENTITY b '&a;&a;&a;'>]><body>&b;</body></message>"},
		{"an entity that was not declared", "<message><body>&lol;</body></message>"},
		{"an external entity", "<message><!ENTITY x SYSTEM 'file:///etc/passwd'><body>&x;</body></message>"},
		{"a processing instruction", "<message><?php evil ?></message>"},
		{"a comment", "<message><!-- <message/> --></message>"},
		{"bad UTF-8", "<message><body>\xc3\x28\xed\xa0\x80\xff</body></message>"},
		{"overlong UTF-8", "<message><body>\xc0\xbc</body></message>"},
		{"a NUL", "<message><body>\x00</body></message>"},
		{"a NUL by reference", "<message><body>&#0;</body></message>"},
		{"a surrogate by reference", "<message><body>&#xD800;</body></message>"},
		{"a prefix of nobody", "<message><x:y/></message>"},
		{"the same attribute twice", "<message id='1' id='2'/>"},
		{"end tags that do not match", "<message><a></b></message>"},
		{"an attribute without quotes", "<message id=1/>"},
	} {
		t.Run(c.name, func(t *testing.T) {
			onStage(t, func(s *stage) {
				w := &warnings{Handler: slog.DiscardHandler}
				s.cfg.Logger = slog.New(loud{w})
				c2, server := s.online(nil)
				server.play("S: " + c.xml + "\nS: " + c.xml + `
S: <message from='romeo@example.net/orchard' id='good'><body>Call me but love</body></message><r xmlns='urn:xmpp:sm:3'/>
C: <a xmlns='urn:xmpp:sm:3' h='4'/>`)
				for m := range c2.Messages(s.Context()) {
					if m.ID != "good" {
						s.Errorf("got %.100q", m.ID)
					}
					break
				}
				synctest.Wait()
				if len(w.list) != 2 {
					s.Errorf("logged: %.300q", fmt.Sprint(w.list))
				}
				if st := c2.Status(); st.State != Online {
					s.Errorf("%+v", st)
				}
				s.end(c2, server)
			})
		})
	}
}

// loud is a handler for all levels.
type loud struct{ *warnings }

func (loud) Enabled(context.Context, slog.Level) bool { return true }
func (l loud) WithAttrs([]slog.Attr) slog.Handler     { return l }
func (l loud) WithGroup(string) slog.Handler          { return l }

func manyAttributes(n int) string {
	var b strings.Builder
	for i := range n {
		fmt.Fprintf(&b, " a%d=''", i)
	}
	return b.String()
}
