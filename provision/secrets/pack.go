package secrets

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
)

// Pack returns a folder as one text for a store of secrets: a JSON object of names and
// contents, without the subfolders of skip. Pack(dir, sites...) has all that Make needs
// to make the folders of more sites; Pack(dir/site/role) has a node's secrets.
func Pack(dir string, skip ...string) (string, error) {
	files, err := readFiles(dir, skip...)
	if err != nil {
		return "", fmt.Errorf("pack secrets: %w", err)
	}
	text, err := json.Marshal(files)
	return string(text), err
}

func readFiles(dir string, skip ...string) (map[string]string, error) {
	files := map[string]string{}
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		name, err := filepath.Rel(dir, path)
		if err != nil {
			return err
		}
		if d.IsDir() {
			for _, s := range skip {
				if name == s {
					return filepath.SkipDir
				}
			}
			return nil
		}
		text, err := os.ReadFile(path)
		files[filepath.ToSlash(name)] = string(text)
		return err
	})
	return files, err
}

// Unpack writes the files of a packed folder below dir.
func Unpack(dir, packed string) error {
	var files map[string]string
	if err := json.Unmarshal([]byte(packed), &files); err != nil {
		return fmt.Errorf("unpack secrets: %w", err)
	}
	m := maker{Config: Config{Dir: dir}}
	for name, text := range files {
		if !filepath.IsLocal(filepath.FromSlash(name)) || strings.Contains(name, "\\") {
			return fmt.Errorf("unpack secrets: the name %q is not below the folder", name)
		}
		if err := m.put(filepath.FromSlash(name), []byte(text)); err != nil {
			return fmt.Errorf("unpack secrets: %w", err)
		}
	}
	if len(files) == 0 {
		return errors.New("unpack secrets: the text has no files")
	}
	return nil
}
