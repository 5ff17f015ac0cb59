package backend_test

import (
	"crypto/rand"
	"strings"
	"testing"

	"github.com/xdg-go/scram"

	"dproxy/backend"
	"dproxy/route"
)

// scramServer is a backend that knows one user.
func scramServer(t *testing.T, hash scram.HashGeneratorFcn, password string) *scram.ServerConversation {
	t.Helper()
	c, err := hash.NewClientUnprepped("u", password, "")
	if err != nil {
		t.Fatal(err)
	}
	salt := make([]byte, 16)
	_, _ = rand.Read(salt)
	stored, err := c.GetStoredCredentialsWithError(scram.KeyFactors{Salt: string(salt), Iters: 4096})
	if err != nil {
		t.Fatal(err)
	}
	s, err := hash.NewServer(func(string) (scram.StoredCredentials, error) { return stored, nil })
	if err != nil {
		t.Fatal(err)
	}
	return s.NewConversation()
}

func TestSCRAM(t *testing.T) {
	for mech, hash := range map[string]scram.HashGeneratorFcn{"SCRAM-SHA-1": scram.SHA1, "SCRAM-SHA-256": scram.SHA256} {
		t.Run(mech, func(t *testing.T) {
			server := scramServer(t, hash, "p,=")
			sasl := backend.NewSASL(route.Target{User: "target", Master: "u", Password: "p,=", Mech: mech})
			out := sasl.Initial()
			for range 2 {
				challenge, err := server.Step(string(out))
				if err != nil {
					t.Fatal(err)
				}
				if out, err = sasl.Next([]byte(challenge)); err != nil {
					t.Fatal(err)
				}
			}
			if !server.Valid() || server.AuthzID() != "target" || server.Username() != "u" || len(out) != 0 {
				t.Errorf("valid %t, %q for %q, last answer %q", server.Valid(), server.Username(), server.AuthzID(), out)
			}
			if _, err := sasl.Next(nil); err == nil {
				t.Error("a challenge after the end is answered")
			}
		})
	}
}

func TestSCRAMBelievesNoBackendWithoutThePassword(t *testing.T) {
	server := scramServer(t, scram.SHA256, "p")
	sasl := backend.NewSASL(route.Target{User: "u", Password: "p", Mech: "SCRAM-SHA-256"})
	challenge, err := server.Step(string(sasl.Initial()))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := sasl.Next([]byte(challenge)); err != nil {
		t.Fatal(err)
	}
	if _, err := sasl.Next([]byte("v=" + strings.Repeat("A", 43) + "=")); err == nil {
		t.Error("a signature that is wrong is believed")
	}
}

func TestSCRAMRefusesHugeWork(t *testing.T) {
	sasl := backend.NewSASL(route.Target{User: "u", Password: "p", Mech: "SCRAM-SHA-256"})
	nonce := string(sasl.Initial()[strings.Index(string(sasl.Initial()), "r=")+2:])
	if _, err := sasl.Next([]byte("r=" + nonce + "x,s=c2FsdA==,i=2000000000")); err == nil || !strings.Contains(err.Error(), "too many rounds") {
		t.Errorf("got %v", err)
	}
}
