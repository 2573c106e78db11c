package sasl

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"testing"

	"mellium.im/sasl"
)

var mellium = []struct {
	hash        Hash
	bare, bound sasl.Mechanism
}{
	{SHA1, sasl.ScramSha1, sasl.ScramSha1Plus},
	{SHA256, sasl.ScramSha256, sasl.ScramSha256Plus},
}

// melliumClient signs in at our server.
func melliumClient(t *testing.T, m sasl.Mechanism, cfg *ServerConfig, options ...sasl.Option) error {
	t.Helper()
	client := sasl.NewClient(m, options...)
	server, err := NewServer(m.Name, cfg)
	if err != nil {
		return err
	}
	more, response, err := client.Step(nil)
	for err == nil {
		var challenge []byte
		var done bool
		if challenge, done, err = server.Next(response); err != nil {
			break
		}
		if more {
			more, response, err = client.Step(challenge)
		}
		if done {
			return err
		}
	}
	return err
}

func TestMelliumClient(t *testing.T) {
	cert := certificate(t, x509.ECDSAWithSHA256)
	for _, version := range []uint16{tls.VersionTLS12, tls.VersionTLS13} {
		p := connect(t, version, cert, nil, nil)
		cfg := &ServerConfig{Offer: &Offer{Mechanisms: allMechanisms, TLS: &p.server}, Lookup: users(t), Binding: ServerBinding(&p.server, cert.Leaf), Protect: true}
		for _, m := range mellium {
			for _, mechanism := range []sasl.Mechanism{m.bare, m.bound, sasl.Plain} {
				t.Run(tls.VersionName(version)+" "+mechanism.Name, func(t *testing.T) {
					credentials := func(password string) sasl.Option {
						return sasl.Credentials(func() (_, _, _ []byte) { return []byte("user"), []byte(password), nil })
					}
					options := []sasl.Option{credentials("pencil"), sasl.TLSState(p.client), sasl.RemoteMechanisms(allMechanisms...)}
					if err := melliumClient(t, mechanism, cfg, options...); err != nil {
						t.Error(err)
					}
					options[0] = credentials("pen")
					var f *Failure
					if err := melliumClient(t, mechanism, cfg, options...); !errors.As(err, &f) || f.Condition != NotAuthorized {
						t.Errorf("wrong password: %v", err)
					}
				})
			}
		}
	}
}

// Its server has no channel binding, and unescapes names within the message that the proof is about, so this one has nothing to escape.
func TestMelliumServer(t *testing.T) {
	salt := []byte("sixteen bytes of")
	for _, m := range mellium {
		for _, flag := range []byte{'n', 'y'} {
			t.Run(m.bare.Name+" "+string(flag), func(t *testing.T) {
				server := sasl.NewServer(m.bare, nil, sasl.SaltedCredentials(func(username, identity []byte, name string) (_, _ []byte, _ int64, _ error) {
					if string(username) != "user" || string(identity) != "boss" || name != m.bare.Name {
						return nil, nil, 0, errors.New("nobody")
					}
					return salt, sasl.SCRAMSaltPassword(m.hash.new(), []byte("pencil"), salt, 4096), 4096, nil
				}))
				offer := &Offer{Mechanisms: []string{m.bare.Name}}
				client, err := choice(m.bare.Name, "", flag, offer).Client(&Credentials{Username: "user", Password: "pencil", AuthzID: "boss"}, nil)
				if err != nil {
					t.Fatal(err)
				}
				response, err := client.Start()
				if err != nil {
					t.Fatal(err)
				}
				_, challenge, err := server.Step(response)
				if err != nil {
					t.Fatal(err)
				}
				if response, err = client.Next(challenge); err != nil {
					t.Fatal(err)
				}
				more, final, err := server.Step(response)
				if err != nil || more {
					t.Fatalf("%v, %v", more, err)
				}
				if err := client.Done(final); err != nil {
					t.Error(err)
				}
			})
		}
	}
}
