package ticket

import (
	"bytes"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"encoding/hex"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/google/renameio/v2"
)

// The files that GenerateKeys writes.
const (
	PrivateKeyFile = "ticket-key.pem"  // for routers, mode 0600
	PublicKeysFile = "ticket-keys.pem" // for brains and seats
)

// keyID is the kid of a public key.
func keyID(key ed25519.PublicKey) string {
	sum := sha256.Sum256(key)
	return hex.EncodeToString(sum[:8])
}

// GenerateKeys makes a key pair in dir, which is made if it is missing. It
// never replaces a private key. Public keys that are already in dir are kept
// behind the new one, so to rotate: move ticket-key.pem away, generate, bring
// ticket-keys.pem to brains and seats, and only then start routers with the new
// ticket-key.pem. Drop the old public key once MaxWait has passed.
func GenerateKeys(dir string) error {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return fmt.Errorf("generate ticket keys: %w", err)
	}
	privatePath, publicPath := filepath.Join(dir, PrivateKeyFile), filepath.Join(dir, PublicKeysFile)
	if _, err := os.Lstat(privatePath); err == nil {
		return fmt.Errorf("generate ticket keys: %s: %w; move it away to make another", privatePath, fs.ErrExist)
	}
	_, private, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		return fmt.Errorf("generate ticket keys: %w", err)
	}
	secret, keys, err := encode(private)
	if err != nil {
		return fmt.Errorf("generate ticket keys: %w", err)
	}
	switch old, err := os.ReadFile(publicPath); {
	case err == nil:
		keys = append(keys, old...)
	case !errors.Is(err, fs.ErrNotExist):
		return fmt.Errorf("generate ticket keys: %w", err)
	}
	// Public first: a private key without its public key would be useless, and
	// could not be generated again.
	if err := renameio.WriteFile(publicPath, keys, 0o644, renameio.IgnoreUmask()); err != nil {
		return fmt.Errorf("write ticket keys: %w", err)
	}
	if err := writeNew(privatePath, secret, 0o600); err != nil {
		return fmt.Errorf("write ticket key: %w", err)
	}
	return nil
}

// NewKeys makes a key pair, in PEM.
func NewKeys() (private, public []byte, err error) {
	_, key, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		return nil, nil, err
	}
	return encode(key)
}

// encode gives a key pair in PEM.
func encode(key ed25519.PrivateKey) (private, public []byte, err error) {
	privateDER, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return nil, nil, err
	}
	public, err = encodePublic(key.Public().(ed25519.PublicKey))
	return pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: privateDER}), public, err
}

func encodePublic(key ed25519.PublicKey) ([]byte, error) {
	der, err := x509.MarshalPKIXPublicKey(key)
	return pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der}), err
}

// publicKey reads a PEM block that has to hold an Ed25519 public key.
func publicKey(block *pem.Block) (ed25519.PublicKey, error) {
	if block.Type != "PUBLIC KEY" {
		return nil, fmt.Errorf("a PEM block %s is there; only PUBLIC KEY belongs there", block.Type)
	}
	parsed, err := x509.ParsePKIXPublicKey(block.Bytes)
	if err != nil {
		return nil, fmt.Errorf("parse: %w", err)
	}
	key, ok := parsed.(ed25519.PublicKey)
	if !ok {
		return nil, fmt.Errorf("a %T is there; only Ed25519 belongs there", parsed)
	}
	return key, nil
}

// privateKey reads a PEM block that has to hold an Ed25519 private key.
func privateKey(block *pem.Block) (ed25519.PrivateKey, error) {
	if block == nil || block.Type != "PRIVATE KEY" {
		return nil, errors.New("it holds no PEM block PRIVATE KEY")
	}
	parsed, err := x509.ParsePKCS8PrivateKey(block.Bytes)
	if err != nil {
		return nil, fmt.Errorf("parse: %w", err)
	}
	key, ok := parsed.(ed25519.PrivateKey)
	if !ok {
		return nil, fmt.Errorf("it is a %T, not Ed25519", parsed)
	}
	return key, nil
}

// writeNew puts a whole file in place, and fails if there is one already. It
// links the file into place because a rename, which renameio does, would replace
// a private key that another process made at the same moment.
func writeNew(path string, text []byte, mode os.FileMode) error {
	f, err := os.CreateTemp(filepath.Dir(path), ".ticket-*")
	if err != nil {
		return err
	}
	defer os.Remove(f.Name())
	_, err = f.Write(text)
	err = errors.Join(err, f.Chmod(mode), f.Sync(), f.Close())
	if err != nil {
		return err
	}
	return os.Link(f.Name(), path)
}

// readPublicKeys reads a file of concatenated PEM blocks. Anything but Ed25519
// public keys in it is an error: a private key there would be a leak.
func readPublicKeys(path string) (map[string]ed25519.PublicKey, error) {
	text, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("read ticket keys: %w", err)
	}
	keys := make(map[string]ed25519.PublicKey)
	for {
		var block *pem.Block
		block, text = pem.Decode(text)
		if block == nil {
			break
		}
		key, err := publicKey(block)
		if err != nil {
			return nil, fmt.Errorf("ticket keys %s: %w", path, err)
		}
		keys[keyID(key)] = key
	}
	if len(bytes.TrimSpace(text)) > 0 {
		return nil, fmt.Errorf("ticket keys %s end in %d bytes that are not a PEM block", path, len(text))
	}
	if len(keys) == 0 {
		return nil, fmt.Errorf("ticket keys %s hold no key; make some with: nearcast ticket-key DIR", path)
	}
	return keys, nil
}
