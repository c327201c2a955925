package testkit

import (
	"crypto/ed25519"
	"path/filepath"
	"testing"

	"github.com/nearcast/nearcast/internal/ticket"
)

// Signer signs tickets with a key of its own.
func Signer(t testing.TB) *ticket.Signer {
	t.Helper()
	_, key, err := ed25519.GenerateKey(nil)
	if err != nil {
		t.Fatal(err)
	}
	return ticket.NewSigner(key, "test")
}

// TicketKeys writes a key pair into a folder and returns its files: the private
// one is a router's, the public one is what brains and seats check tickets with.
func TicketKeys(t testing.TB, dir string) (private, public string) {
	t.Helper()
	if err := ticket.GenerateKeys(dir); err != nil {
		t.Fatal(err)
	}
	return filepath.Join(dir, ticket.PrivateKeyFile), filepath.Join(dir, ticket.PublicKeysFile)
}
