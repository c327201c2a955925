package ticket

import (
	"bytes"
	"crypto/ed25519"
	"crypto/rand"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"slices"
)

// LaunchKey is a registered key that checks the launch tokens of one customer.
type LaunchKey struct {
	ID     string // what a token's kid names
	Name   string // the customer's, whose sessions it launches
	Public ed25519.PublicKey
	// Apps are the apps it may sign for; with none, every app.
	Apps []string
}

// May reports whether the key may sign for an app.
func (k LaunchKey) May(app string) bool { return len(k.Apps) == 0 || slices.Contains(k.Apps, app) }

// LaunchKeys are the registered keys by their ID.
type LaunchKeys map[string]LaunchKey

// ParseLaunchKey reads a registered key. The ID has to be the key's own: so no key
// can be registered in the place of another.
func ParseLaunchKey(id, name, publicPEM string, apps []string) (LaunchKey, error) {
	block, rest := pem.Decode([]byte(publicPEM))
	if block == nil || len(bytes.TrimSpace(rest)) > 0 {
		return LaunchKey{}, errors.New("launch key: it is not one PEM block PUBLIC KEY")
	}
	public, err := publicKey(block)
	if err != nil {
		return LaunchKey{}, fmt.Errorf("launch key: %w", err)
	}
	if id != keyID(public) {
		return LaunchKey{}, fmt.Errorf("launch key: its id is %s, not %s", keyID(public), id)
	}
	return LaunchKey{ID: id, Name: name, Public: public, Apps: apps}, nil
}

// GenerateLaunchKey writes a new private key to path, with mode 0600. It never
// replaces a file.
func GenerateLaunchKey(path string) (ed25519.PrivateKey, error) {
	if _, err := os.Lstat(path); err == nil {
		return nil, fmt.Errorf("generate launch key: %s: %w; name another file", path, fs.ErrExist)
	}
	_, private, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		return nil, fmt.Errorf("generate launch key: %w", err)
	}
	secret, _, err := encode(private)
	if err != nil {
		return nil, fmt.Errorf("generate launch key: %w", err)
	}
	if err := writeNew(path, secret, 0o600); err != nil {
		return nil, fmt.Errorf("write launch key: %w", err)
	}
	return private, nil
}

// LoadLaunchKey reads a private key (PKCS #8 in PEM).
func LoadLaunchKey(path string) (ed25519.PrivateKey, error) {
	text, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("read launch key: %w", err)
	}
	block, _ := pem.Decode(text)
	key, err := privateKey(block)
	if err != nil {
		return nil, fmt.Errorf("launch key %s: %w; make one with: nearcast key create NAME", path, err)
	}
	return key, nil
}

// LoadLaunchPublic reads the public half of a key, from the file of either half.
func LoadLaunchPublic(path string) (ed25519.PublicKey, error) {
	text, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("read launch key: %w", err)
	}
	if block, _ := pem.Decode(text); block != nil && block.Type == "PUBLIC KEY" {
		key, err := publicKey(block)
		if err != nil {
			return nil, fmt.Errorf("launch key %s: %w", path, err)
		}
		return key, nil
	}
	private, err := LoadLaunchKey(path)
	if err != nil {
		return nil, err
	}
	return private.Public().(ed25519.PublicKey), nil
}

// DescribeLaunchKey gives the ID of a public key, and its PEM.
func DescribeLaunchKey(public ed25519.PublicKey) (id, publicPEM string, err error) {
	text, err := encodePublic(public)
	if err != nil {
		return "", "", fmt.Errorf("encode launch key: %w", err)
	}
	return keyID(public), string(text), nil
}

// ValidLaunchKeyID reports whether id has the form of a key's ID.
func ValidLaunchKeyID(id string) bool { return len(id) == 16 && isHex(id) }
