package secrets

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"encoding/hex"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/nearcast/nearcast/provision"
)

// What rotations put beside the secrets that are used. No node gets it.
const (
	rotationFolder = "rotation"
	alsoFile       = "node-key.also.pem"
)

var generationFile = filepath.Join("shared", provision.GenerationFile)

// Generation names the state of a cluster's secrets, as Pack has them: nodes show it. It tells
// nothing of them, as each has far more bits than the name.
func Generation(files map[string]string) string {
	files = Current(files)
	sum := sha256.New()
	for _, name := range slices.Sorted(maps.Keys(files)) {
		folder, _, below := strings.Cut(name, "/")
		// The public half follows from the others, when Make runs.
		if name == filepath.ToSlash(generationFile) || name == nodePublicKeyFile || below && folder != "shared" && folder != "tickets" {
			continue
		}
		fmt.Fprintf(sum, "%q %q\n", name, files[name])
	}
	return hex.EncodeToString(sum.Sum(nil)[:6])
}

// Current gives the cluster's files their names of this release, as Make does.
func Current(files map[string]string) map[string]string {
	files = maps.Clone(files)
	for now, before := range keyNames {
		if text, ok := files[before]; ok {
			files[now] = text
			delete(files, before)
		}
	}
	return files
}

// GossipKey makes a gossip key.
func GossipKey() string { return gossipKey() + "\n" }

// Authority makes an authority that signs certificates, as PEM.
func Authority(now time.Time) (cert, key string, err error) {
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return "", "", err
	}
	text, err := authorityCert(private, now)
	if err != nil {
		return "", "", err
	}
	secret, err := encodeKey(private)
	return string(text), string(secret), err
}

// NodeKey makes a key that signs the statements of nodes, as PEM.
func NodeKey() (string, error) {
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return "", err
	}
	text, err := encodeKey(private)
	return string(text), err
}

// PublicNodeKey is the public half of one.
func PublicNodeKey(private string) (string, error) {
	block, _ := pem.Decode([]byte(private))
	if block == nil {
		return "", errors.New("the key of nodes' statements is no PEM")
	}
	key, err := x509.ParseECPrivateKey(block.Bytes)
	if err != nil {
		return "", fmt.Errorf("the key of nodes' statements: %w", err)
	}
	public, err := encodePublic(key)
	return string(public), err
}

func encodePublic(key *ecdsa.PrivateKey) ([]byte, error) {
	der, err := x509.MarshalPKIXPublicKey(&key.PublicKey)
	if err != nil {
		return nil, err
	}
	return pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der}), nil
}

// Read returns what Pack packs of a folder of the cluster's secrets, without those of its sites.
func Read(dir string) (map[string]string, error) {
	if _, err := os.Stat(filepath.Join(dir, "ca-key.pem")); err != nil {
		return nil, fmt.Errorf("%s is no folder of nearcast provision secrets: %w", dir, err)
	}
	sites, err := Config{Dir: dir}.sites()
	if err != nil {
		return nil, err
	}
	return readFiles(dir, sites...)
}

// Replace gives a folder these files of the cluster, and makes those of its sites' nodes. last is
// written after all others, before files are removed.
func Replace(dir string, files map[string]string, last string) error {
	before, err := Read(dir)
	if err != nil {
		return fmt.Errorf("replace secrets: %w", err)
	}
	unlock, err := lock(dir)
	if err != nil {
		return fmt.Errorf("replace secrets: %w", err)
	}
	m := maker{Config: Config{Dir: dir}}
	names := slices.Sorted(maps.Keys(files))
	names = append(slices.DeleteFunc(names, func(n string) bool { return n == last }), last)
	for _, name := range names {
		if text, ok := files[name]; ok && err == nil {
			err = m.put(filepath.FromSlash(name), []byte(text))
		}
	}
	for name := range before {
		if _, ok := files[name]; !ok && err == nil {
			if err = os.Remove(filepath.Join(dir, name)); errors.Is(err, fs.ErrNotExist) {
				err = nil
			}
		}
	}
	unlock()
	if err == nil {
		_, err = Make(Config{Dir: dir})
	}
	if err != nil {
		return fmt.Errorf("replace secrets: %w", err)
	}
	return nil
}
