package xmpptest

import (
	"context"
	"strings"

	"github.com/hoorn-phone/hoorn/xmpp/xmltree"
)

// PlayClient plays the client's part of a script.
func PlayClient(_ context.Context, script string, vars map[string]string, write func(string) error, next func() (*xmltree.Element, error)) error {
	for _, l := range lines(script) {
		who, xml, _ := strings.Cut(l.text, ":")
		xml = strings.TrimSpace(xml)
		err := func() error {
			if who == "C" {
				for name, value := range vars {
					xml = strings.ReplaceAll(xml, "{"+name+"}", escape.Replace(value))
				}
				return write(xml)
			}
			want, err := inStream().Parse([]byte(xml))
			if err != nil {
				return err
			}
			got, err := next()
			if err != nil {
				return err
			}
			return match(want, got, vars)
		}()
		if err != nil {
			return &ScriptError{l.number, l.text, err}
		}
	}
	return nil
}
