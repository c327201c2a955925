package wire

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"path"
	"slices"
	"strings"
	"unicode/utf8"
)

// Manifest is one version of the files of an app, as nearcast app publish stores it at
// ManifestKey. It is named by the sha256 of its JSON: so a job that names it gets the same
// files for ever.
type Manifest struct {
	// Format is 1.
	Format int            `json:"nearcast_manifest"`
	Files  []ManifestFile `json:"files"` // sorted by Path
}

// ManifestFile is a file of a Manifest. Its bytes are at ObjectKey.
type ManifestFile struct {
	Path   string `json:"path"` // relative, with slashes, clean
	Size   int64  `json:"size"`
	SHA256 string `json:"sha256"`         // hex, lower case
	Mode   string `json:"mode,omitempty"` // "0755" where it is a program; else nothing
}

// MaxManifest is the size in bytes of the largest manifest: about half a million files.
const MaxManifest = 64 << 20

// maxManifestBytes bounds the bytes of all files, so that no sum of sizes overflows: it is
// more than any disk has.
const maxManifestBytes = 1 << 50

// ModeProgram is the mode of files that may be executed.
const ModeProgram = "0755"

// ObjectKey is where the bytes of a file are, below the prefix of what was published.
func ObjectKey(sha256 string) string { return "objects/" + sha256[:2] + "/" + sha256 }

// ManifestKey is where a manifest is, below the same prefix.
func ManifestKey(sha256 string) string { return "manifests/" + sha256 + ".json" }

// ManifestSum is the hex digits of "sha256:…".
func ManifestSum(name string) (string, error) {
	digits, ok := strings.CutPrefix(strings.ToLower(name), "sha256:")
	if !ok || !isSHA256(digits) {
		return "", fmt.Errorf("manifest %q: want sha256: and 64 hex digits", name)
	}
	return digits, nil
}

func isSHA256(digits string) bool {
	sum, err := hex.DecodeString(digits)
	return err == nil && len(sum) == sha256.Size
}

// NewManifest makes the JSON of a manifest and its sha256. The order of files does not
// matter.
func NewManifest(files []ManifestFile) (text []byte, sum string, err error) {
	m := Manifest{Format: 1, Files: slices.Clone(files)}
	slices.SortFunc(m.Files, func(a, b ManifestFile) int { return strings.Compare(a.Path, b.Path) })
	if err := m.check(); err != nil {
		return nil, "", err
	}
	if text, err = json.Marshal(m); err != nil {
		return nil, "", err
	}
	if len(text) > MaxManifest {
		return nil, "", fmt.Errorf("the manifest has %d bytes, and may have %d: publish fewer files, or two folders", len(text), MaxManifest)
	}
	raw := sha256.Sum256(text)
	return text, hex.EncodeToString(raw[:]), nil
}

// ParseManifest reads a manifest. Each path that it returns is relative, clean, and names
// one file.
func ParseManifest(text []byte) (Manifest, error) {
	var m Manifest
	if err := json.Unmarshal(text, &m); err != nil {
		return m, fmt.Errorf("read manifest: %w", err)
	}
	if m.Format != 1 {
		return m, fmt.Errorf("the manifest has format %d, which this release does not know", m.Format)
	}
	return m, m.check()
}

func (m Manifest) check() error {
	if len(m.Files) == 0 {
		return errors.New("the manifest has no files")
	}
	last, total := "", int64(0)
	paths := make(map[string]bool, len(m.Files))
	for _, f := range m.Files {
		switch {
		case f.Path == "" || path.IsAbs(f.Path) || path.Clean(f.Path) != f.Path || f.Path == "." || f.Path == ".." || strings.HasPrefix(f.Path, "../") || strings.ContainsRune(f.Path, 0):
			return fmt.Errorf("the manifest has the path %q, which is not one below a folder", f.Path)
		case !utf8.ValidString(f.Path):
			// JSON has no such names: the app would not find the file by its own.
			return fmt.Errorf("the name of the file %q is not UTF-8: rename it", f.Path)
		case f.Path <= last:
			return fmt.Errorf("the manifest has %q twice, or not in order", f.Path)
		case f.Size < 0 || !isSHA256(f.SHA256) || f.SHA256 != strings.ToLower(f.SHA256):
			return fmt.Errorf("the manifest has no right size and sha256 of %q", f.Path)
		case f.Mode != "" && f.Mode != ModeProgram:
			return fmt.Errorf("the manifest has the mode %q of %q: it may be %q, or none", f.Mode, f.Path, ModeProgram)
		}
		if f.Size > maxManifestBytes-total {
			return fmt.Errorf("the files of the manifest have more than %d bytes together", int64(maxManifestBytes))
		}
		total += f.Size
		// A folder comes after a file of its name, but not always next: "a", "a-b", "a/b".
		for dir := path.Dir(f.Path); dir != "."; dir = path.Dir(dir) {
			if paths[dir] {
				return fmt.Errorf("the manifest has %q as a file and as a folder", dir)
			}
		}
		paths[f.Path] = true
		last = f.Path
	}
	return nil
}
