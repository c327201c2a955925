package secrets

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/nearcast/nearcast/provision"
)

// Names in earlier releases, by the current name. A new key in place of the old one would
// lock all running nodes out of Nomad.
var (
	keyNames  = map[string]string{nodeKeyFile: "host-key.pem", nodePublicKeyFile: "host-key.pub.pem"}
	roleNames = map[string]string{provision.NomadNodeFile: "nomad-host.jwt", provision.NomadNodeKeyFile: "nomad-host.pub.pem"}
)

// takeOver renames the files of an earlier release.
func (m *maker) takeOver(sites []string) error {
	for now, before := range keyNames {
		if err := m.rename(before, now); err != nil {
			return err
		}
	}
	for _, site := range sites {
		for _, role := range provision.Roles() {
			for now, before := range roleNames {
				dir := filepath.Join(site, string(role))
				if err := m.rename(filepath.Join(dir, before), filepath.Join(dir, now)); err != nil {
					return err
				}
			}
		}
	}
	return nil
}

// rename does nothing if there is no file with the old name. If both exist, only the operator
// can know which one the nodes have.
func (m *maker) rename(before, now string) error {
	old, path := filepath.Join(m.Dir, before), filepath.Join(m.Dir, now)
	if _, err := os.Lstat(old); errors.Is(err, fs.ErrNotExist) {
		return nil
	} else if err != nil {
		return err
	}
	if _, err := os.Lstat(path); err == nil {
		return fmt.Errorf("%s and %s both exist, and are the new and the old name of one file: keep the one that the nodes use, as %s, and remove the other one", now, before, now)
	} else if !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	if err := os.Rename(old, path); err != nil {
		return err
	}
	m.written = append(m.written, now)
	return nil
}
