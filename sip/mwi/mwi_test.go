package mwi

import (
	"reflect"
	"strings"
	"testing"
)

func crlf(s string) []byte { return []byte(strings.ReplaceAll(s, "\n", "\r\n")) }

func TestExamples(t *testing.T) {
	for _, tt := range []struct {
		name, in string
		want     Summary
	}{
		{"RFC 3842 §3.5", "Messages-Waiting: yes\nMessage-Account: sip:alice@vmail.example.com\nVoice-Message: 2/8 (0/2)\n",
			Summary{true, "sip:alice@vmail.example.com", []Count{{Voice, 2, 8, 0, 2}}, nil}},
		{"RFC 3842 §4, A3", "Messages-Waiting: yes\nMessage-Account: sip:alice@vmail.example.com\nVoice-Message: 4/8 (1/2)\n\n" +
			"To: <alice@atlanta.example.com>\nFrom: <bob@biloxi.example.com>\nSubject: carpool tomorrow?\nDate: Sun, 09 Jul 2000 21:23:01 -0700\nPriority: normal\n" +
			"Message-ID: 13784434989@vmail.example.com\n\nTo: <alice@example.com>\nFrom: <cathy-the-bob@example.com>\nSubject: HELP! at home ill, present for me\n please\nPriority: urgent\n",
			Summary{true, "sip:alice@vmail.example.com", []Count{{Voice, 4, 8, 1, 2}}, [][]Field{
				{{"To", "<alice@atlanta.example.com>"}, {"From", "<bob@biloxi.example.com>"}, {"Subject", "carpool tomorrow?"},
					{"Date", "Sun, 09 Jul 2000 21:23:01 -0700"}, {"Priority", "normal"}, {"Message-ID", "13784434989@vmail.example.com"}},
				{{"To", "<alice@example.com>"}, {"From", "<cathy-the-bob@example.com>"}, {"Subject", "HELP! at home ill, present for me please"}, {"Priority", "urgent"}},
			}}},
		{"RFC 3842 §4, A7", "Messages-Waiting: no\n", Summary{}},
		{"as many servers write it", "messages-waiting:YES\r\nvoice-message:1/0\r\nx-other: 3\r\nFAX-Message: 0/1\r\n\r\n",
			Summary{true, "", []Count{{Voice, 1, 0, -1, -1}, {Fax, 0, 1, -1, -1}}, nil}},
	} {
		got, err := Parse(crlf(strings.ReplaceAll(tt.in, "\r", "")))
		if err != nil || !reflect.DeepEqual(*got, tt.want) {
			t.Errorf("%s: %v\n got %+v\nwant %+v", tt.name, err, got, tt.want)
			continue
		}
		again, err := Parse(got.Bytes())
		if err != nil || !reflect.DeepEqual(again, got) {
			t.Errorf("%s: written and read again: %v\n%s", tt.name, err, got.Bytes())
		}
	}
	s := Summary{Counts: []Count{{Voice, 1, 2, -1, -1}}}
	if s.Count(Voice).New != 1 || s.Count(Fax).New != 0 {
		t.Errorf("%+v", s)
	}
}

func TestRefused(t *testing.T) {
	for _, in := range []string{
		"", "Voice-Message: 1/0\r\n", "Messages-Waiting: perhaps\r\n", "Messages-Waiting: yes\r\nVoice-Message: 1\r\n",
		"Messages-Waiting: yes\r\nVoice-Message: 1/-1\r\n", "Messages-Waiting: yes\r\nVoice-Message: 1/1 (0/0\r\n",
		"Messages-Waiting: yes\r\nVoice-Message: 99999999999/1\r\n", "Messages-Waiting: yes\r\nnonsense\r\n", " Messages-Waiting: yes\r\n",
		"Messages-Waiting: yes\r\nVoice-Message: 1/0\r\nVoice-Message: 1/0\r\n",
		"Messages-Waiting: yes\r\n" + strings.Repeat("a: b\r\n", 1001), "Messages-Waiting: yes\r\nx: " + strings.Repeat("x", MaxSize),
	} {
		if s, err := Parse([]byte(in)); err == nil {
			t.Errorf("%.60q was taken: %+v", in, s)
		}
	}
}

func FuzzParse(f *testing.F) {
	f.Add([]byte("Messages-Waiting: yes\r\nMessage-Account: sip:a@b\r\nVoice-Message: 4/8 (1/2)\r\n\r\nTo: <a>\r\nSubject: x\r\n y\r\n"))
	f.Fuzz(func(t *testing.T, body []byte) {
		s, err := Parse(body)
		if err != nil {
			return
		}
		b := s.Bytes()
		again, err := Parse(b)
		if err != nil || !reflect.DeepEqual(again, s) {
			if len(b) > MaxSize {
				return
			}
			t.Fatalf("%v\n%q\n%+v\n%+v", err, b, s, again)
		}
	})
}
