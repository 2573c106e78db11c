package sasl

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"slices"
	"testing"
)

// list writes choices as the mechanism, the gs2-cbind-flag with the binding, and ! where the server has to vouch for its offer.
func list(choices []Choice) []string {
	var l []string
	for _, c := range choices {
		s := c.Mechanism
		switch {
		case c.Binding != "":
			s += " " + string(c.flag) + "=" + string(c.Binding)
		case c.hash != 0:
			s += " " + string(c.flag)
		}
		if c.wantHash != "" {
			s += "!"
		}
		l = append(l, s)
	}
	return l
}

func TestSelect(t *testing.T) {
	cert := certificate(t, x509.ECDSAWithSHA256)
	p12, p13 := connect(t, tls.VersionTLS12, cert, nil, nil), connect(t, tls.VersionTLS13, cert, nil, nil)
	pEd := connect(t, tls.VersionTLS12, certificate(t, x509.PureEd25519), nil, nil)
	noUnique := p12.client
	noUnique.TLSUnique = nil
	for _, c := range []struct {
		name       string
		mechanisms []string
		bindings   []string
		tls        *tls.ConnectionState
		policy     Policy
		want       []string
		err        error
	}{
		{
			name:       "ejabberd on TLS 1.3: offers PLUS, lists nothing",
			mechanisms: []string{"PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-256-PLUS", "X-OAUTH2"}, tls: &p13.client,
			want: []string{"SCRAM-SHA-256-PLUS p=tls-exporter", "SCRAM-SHA-256 n"},
		},
		{
			name:       "ejabberd on TLS 1.2",
			mechanisms: []string{"SCRAM-SHA-1", "SCRAM-SHA-1-PLUS"}, tls: &p12.client,
			want: []string{"SCRAM-SHA-1-PLUS p=tls-unique", "SCRAM-SHA-1 n"},
		},
		{
			name:       "TLS 1.2 resumed without a value for tls-unique",
			mechanisms: []string{"SCRAM-SHA-1", "SCRAM-SHA-1-PLUS"}, tls: &noUnique,
			want: []string{"SCRAM-SHA-1-PLUS p=tls-exporter", "SCRAM-SHA-1 n"},
		},
		{
			name:       "Prosody on TLS 1.3: no PLUS",
			mechanisms: []string{"SCRAM-SHA-1", "PLAIN"}, tls: &p13.client,
			want: []string{"SCRAM-SHA-1 y"},
		},
		{
			name:       "all of it, listed (XEP-0440)",
			mechanisms: allMechanisms, bindings: []string{"tls-server-end-point", "tls-unique", "tls-exporter"}, tls: &p13.client,
			want: []string{
				"SCRAM-SHA-512-PLUS p=tls-exporter", "SCRAM-SHA-512-PLUS p=tls-server-end-point", "SCRAM-SHA-512 n", "SCRAM-SHA-256 n",
			},
		},
		{
			name:       "all of it, listed, TLS 1.2: two bindings at most",
			mechanisms: allMechanisms, bindings: []string{"tls-server-end-point", "tls-unique", "tls-exporter"}, tls: &p12.client,
			want: []string{
				"SCRAM-SHA-512-PLUS p=tls-exporter", "SCRAM-SHA-512-PLUS p=tls-unique", "SCRAM-SHA-512 n", "SCRAM-SHA-256 n",
			},
		},
		{
			name:       "a certificate of the client",
			mechanisms: []string{"SCRAM-SHA-1", "EXTERNAL"}, tls: &p13.client, policy: Policy{Certificate: true},
			want: []string{"EXTERNAL", "SCRAM-SHA-1 y"},
		},
		{
			name:       "no certificate",
			mechanisms: []string{"EXTERNAL"}, tls: &p13.client, err: new(NoMechanismError),
		},
		{
			// Else somebody in the middle would take one PLUS away to be rid of binding, and no flag would tell.
			name:       "binding before a stronger hash",
			mechanisms: []string{"SCRAM-SHA-512", "SCRAM-SHA-256", "SCRAM-SHA-1", "SCRAM-SHA-1-PLUS"}, tls: &p13.client,
			want: []string{"SCRAM-SHA-1-PLUS p=tls-exporter", "SCRAM-SHA-512 n", "SCRAM-SHA-256 n"},
		},
		{
			name:       "no TLS, so no binding of ours",
			mechanisms: allMechanisms,
			want:       []string{"SCRAM-SHA-512 n", "SCRAM-SHA-256 n"},
		},
		{
			name:       "bindings listed, but strange ones (XEP-0474, rule 6)",
			mechanisms: []string{"SCRAM-SHA-1", "SCRAM-SHA-1-PLUS"}, bindings: []string{"tls-strange"}, tls: &p13.client,
			want: []string{"SCRAM-SHA-1 n!"},
		},
		{
			name:       "tls-server-end-point listed, but this certificate has none",
			mechanisms: []string{"SCRAM-SHA-1", "SCRAM-SHA-1-PLUS"}, bindings: []string{"tls-server-end-point"}, tls: &pEd.client,
			want: []string{"SCRAM-SHA-1 n"},
		},
		{
			// A server with PLAIN behind it lists bindings all the same.
			name:       "bindings listed, no PLUS",
			mechanisms: []string{"SCRAM-SHA-1"}, bindings: []string{"tls-exporter"}, tls: &p13.client,
			want: []string{"SCRAM-SHA-1 y"},
		},
		{
			name:       "PLUS of a hash that nobody knows",
			mechanisms: []string{"SCRAM-SHA-1", "SCRAM-SHA3-512-PLUS"}, tls: &p13.client,
			want: []string{"SCRAM-SHA-1 y"},
		},
		{
			name:       "binding required",
			mechanisms: allMechanisms, tls: &p13.client, policy: Policy{RequireBinding: true, AllowPlain: true},
			want: []string{"SCRAM-SHA-512-PLUS p=tls-exporter"},
		},
		{
			name:       "binding required and not there",
			mechanisms: []string{"SCRAM-SHA-1", "PLAIN"}, tls: &p13.client, policy: Policy{RequireBinding: true, AllowPlain: true},
			err: new(NoMechanismError),
		},
		{
			name:       "weakest hash",
			mechanisms: []string{"SCRAM-SHA-1", "SCRAM-SHA-1-PLUS", "SCRAM-SHA-256"}, tls: &p13.client, policy: Policy{MinHash: SHA256},
			want: []string{"SCRAM-SHA-256 y"},
		},
		{
			name:       "hashes too weak, and no PLAIN instead",
			mechanisms: []string{"SCRAM-SHA-1", "PLAIN"}, tls: &p13.client, policy: Policy{MinHash: SHA256, AllowPlain: true},
			err: new(NoMechanismError),
		},
		{
			name:       "PLAIN allowed",
			mechanisms: []string{"PLAIN", "X-OAUTH2"}, tls: &p13.client, policy: Policy{AllowPlain: true},
			want: []string{"PLAIN"},
		},
		{
			name:       "PLAIN never after SCRAM",
			mechanisms: []string{"PLAIN", "SCRAM-SHA-1"}, tls: &p13.client, policy: Policy{AllowPlain: true},
			want: []string{"SCRAM-SHA-1 y"},
		},
		{name: "PLAIN not allowed", mechanisms: []string{"PLAIN"}, tls: &p13.client, err: new(NoMechanismError)},
		{name: "PLAIN without TLS", mechanisms: []string{"PLAIN"}, policy: Policy{AllowPlain: true}, err: new(NoMechanismError)},
		{name: "nothing", err: new(NoMechanismError)},
	} {
		t.Run(c.name, func(t *testing.T) {
			got, err := Select(&Offer{Mechanisms: c.mechanisms, Bindings: c.bindings, TLS: c.tls}, &c.policy)
			if !slices.Equal(list(got), c.want) || !sameError(err, c.err) {
				t.Errorf("%q, %v, want %q, %v", list(got), err, c.want, c.err)
			}
		})
	}
}

// RFC 6120 §6.5: after which failures the next choice makes sense.
func TestFailed(t *testing.T) {
	offer := &Offer{}
	bound, unbound := choice("SCRAM-SHA-1-PLUS", TLSExporter, 'p', offer), choice("SCRAM-SHA-1", "", 'n', offer)
	certificate, plain := choice("EXTERNAL", "", 0, offer), choice("PLAIN", "", 0, offer)
	for _, c := range []struct {
		err                               error
		bound, unbound, certificate, open bool
	}{
		{&Failure{Condition: NotAuthorized, Text: "Invalid channel binding"}, true, false, true, false},
		{&Failure{Condition: Aborted}, true, false, true, false},
		{&Failure{Condition: "strange"}, true, false, true, false},
		{&Failure{Condition: InvalidMechanism}, true, true, true, true},
		{&Failure{Condition: MechanismTooWeak}, true, true, true, true},
		{&Failure{Condition: MalformedRequest}, true, true, true, true},
		{&Failure{Condition: IncorrectEncoding}, true, true, true, true},
		{&Failure{Condition: TemporaryAuthFailure}, false, false, false, false},
		{&Failure{Condition: AccountDisabled}, false, false, false, false},
		{&Failure{Condition: CredentialsExpired}, false, false, false, false},
		{&Failure{Condition: EncryptionRequired}, false, false, false, false},
		{&Failure{Condition: InvalidAuthzID}, false, false, false, false},
		{&ServerError{Value: bindingTypeUnknown}, true, false, false, false},
		{&ServerError{Value: bindingsDontMatch}, true, false, false, false},
		{&ServerError{Value: invalidProof}, false, false, false, false},
		{&ServerError{Value: unknownUser}, false, false, false, false},
		{ErrServerSignature, false, false, false, false},
		{&DowngradeError{}, false, false, false, false},
		{&SyntaxError{}, false, false, false, false},
		{errors.New("connection reset"), false, false, false, false},
	} {
		got := []bool{bound.Failed(c.err), unbound.Failed(c.err), certificate.Failed(c.err), plain.Failed(c.err)}
		if want := []bool{c.bound, c.unbound, c.certificate, c.open}; !slices.Equal(got, want) {
			t.Errorf("%v: %v, want %v", c.err, got, want)
		}
	}
}
