package secrets

import (
	"crypto/rand"
	"encoding/base64"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/google/renameio/v2"
	"github.com/google/uuid"
	"golang.org/x/sys/unix"

	"github.com/nearcast/nearcast/internal/ticket"
	"github.com/nearcast/nearcast/provision"
)

// Config tells Make what to make.
type Config struct {
	Dir   string
	Sites []string // in addition to those that have a folder in Dir
	// ValidFor is how long certificates and statements are valid. Default: a year.
	ValidFor time.Duration
	Now      time.Time // default: now
}

var siteName = regexp.MustCompile(`^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$`)

// reserved are the folders of Dir that do not belong to a site.
var reserved = []string{"shared", "tickets", rotationFolder}

// perRole are the secrets that differ between roles, and are the same at all sites.
var perRole = []string{provision.ConsulAgentFile, provision.ConsulNomadFile}

// Make completes the folder. It returns the paths, relative to the folder, of the files
// that it wrote.
func Make(c Config) (written []string, err error) {
	if c.ValidFor == 0 {
		c.ValidFor = 365 * 24 * time.Hour
	}
	if c.Now.IsZero() {
		c.Now = time.Now()
	}
	sites, err := c.sites()
	if err != nil {
		return nil, fmt.Errorf("make secrets: %w", err)
	}
	unlock, err := lock(c.Dir)
	if err != nil {
		return nil, fmt.Errorf("make secrets: %w", err)
	}
	defer unlock()
	m := maker{Config: c}
	if err := m.all(sites); err != nil {
		return m.written, fmt.Errorf("make secrets: %w", err)
	}
	return m.written, nil
}

// lock waits until no other process makes secrets there: Vagrant starts one for each
// machine.
func lock(dir string) (unlock func() error, err error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, err
	}
	f, err := os.Open(dir)
	if err != nil {
		return nil, err
	}
	if err := unix.Flock(int(f.Fd()), unix.LOCK_EX); err != nil {
		f.Close()
		return nil, fmt.Errorf("lock %s: %w", dir, err)
	}
	return f.Close, nil
}

// sites are those that the caller names, and those that have a folder.
func (c Config) sites() ([]string, error) {
	for _, site := range c.Sites {
		if !siteName.MatchString(site) || slices.Contains(reserved, site) {
			return nil, fmt.Errorf("site %q must be letters a-z, digits and hyphens, such as eu-central-1, and not %s", site, strings.Join(reserved, " or "))
		}
	}
	sites := slices.Clone(c.Sites)
	found, err := os.ReadDir(c.Dir)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	for _, d := range found {
		if d.IsDir() && !slices.Contains(reserved, d.Name()) && siteName.MatchString(d.Name()) {
			sites = append(sites, d.Name())
		}
	}
	slices.Sort(sites)
	if sites = slices.Compact(sites); len(sites) == 0 {
		return nil, errors.New("name at least one site")
	}
	return sites, nil
}

type maker struct {
	Config
	written []string
}

func (m *maker) all(sites []string) error {
	if err := m.takeOver(sites); err != nil {
		return err
	}
	ca, err := m.authority()
	if err != nil {
		return err
	}
	signer, err := m.nodeSigner()
	if err != nil {
		return err
	}
	if err := m.shared(); err != nil {
		return err
	}
	tickets := filepath.Join(m.Dir, "tickets")
	if err := os.MkdirAll(tickets, 0o700); err != nil {
		return err
	}
	switch err := ticket.GenerateKeys(tickets); {
	case err == nil:
		m.written = append(m.written, filepath.Join("tickets", ticket.PrivateKeyFile), filepath.Join("tickets", ticket.PublicKeysFile))
	case !errors.Is(err, fs.ErrExist):
		return err
	}
	files, err := readFiles(m.Dir, sites...)
	if err != nil {
		return err
	}
	if err := m.put(generationFile, []byte(Generation(files)+"\n")); err != nil {
		return err
	}
	for _, site := range sites {
		for _, role := range provision.Roles() {
			if err := m.node(site, role, ca, signer); err != nil {
				return fmt.Errorf("%s of %s: %w", role, site, err)
			}
		}
	}
	return nil
}

// shared makes the gossip keys and tokens.
func (m *maker) shared() error {
	values := map[string]func() string{
		provision.ConsulGossipFile: gossipKey, provision.NomadGossipFile: gossipKey,
		provision.ConsulManagementFile: uuid.NewString, provision.NomadManagementFile: uuid.NewString,
		provision.ConsulReplicationFile: uuid.NewString, provision.ConsulSeatFile: uuid.NewString, provision.ConsulDriverFile: uuid.NewString,
	}
	for _, role := range provision.Roles() {
		for _, name := range perRole {
			values[string(role)+"-"+name] = uuid.NewString
		}
	}
	for name, value := range values {
		path := filepath.Join("shared", name)
		if _, err := os.Stat(filepath.Join(m.Dir, path)); errors.Is(err, fs.ErrNotExist) {
			if err := m.put(path, []byte(value()+"\n")); err != nil {
				return err
			}
		}
	}
	return nil
}

func gossipKey() string {
	var key [32]byte
	rand.Read(key[:])
	return base64.StdEncoding.EncodeToString(key[:])
}

// node completes the folder of a site's role.
func (m *maker) node(site string, role provision.Role, ca *authority, signer *signer) error {
	at := func(name string) string { return filepath.Join(site, string(role), name) }
	copies := map[string]string{at(provision.CAFile): "ca.pem"}
	for _, name := range provision.SecretFiles(role) {
		switch name {
		case provision.CAFile, provision.CertFile, provision.KeyFile, provision.NomadNodeFile:
		case provision.NomadNodeKeyFile:
			copies[at(name)] = nodePublicKeyFile
		default:
			from := name
			if slices.Contains(perRole, name) {
				from = string(role) + "-" + name
			}
			copies[at(name)] = filepath.Join("shared", from)
		}
	}
	switch role {
	case provision.Server:
		// acl.sh creates the tokens of all agents.
		for _, other := range provision.Roles() {
			for _, name := range perRole {
				copies[at(string(other)+"-"+name)] = filepath.Join("shared", string(other)+"-"+name)
			}
		}
		// It also gives the routers their keys.
		for _, name := range []string{ticket.PrivateKeyFile, ticket.PublicKeysFile} {
			copies[at(name)] = filepath.Join("tickets", name)
		}
		copies[at(provision.ConsulSeatFile)] = filepath.Join("shared", provision.ConsulSeatFile)
		copies[at(provision.ConsulDriverFile)] = filepath.Join("shared", provision.ConsulDriverFile)
	case provision.Stream:
		copies[at(ticket.PublicKeysFile)] = filepath.Join("tickets", ticket.PublicKeysFile)
	}
	for to, from := range copies {
		text, err := os.ReadFile(filepath.Join(m.Dir, from))
		if err != nil {
			return err
		}
		if err := m.put(to, text); err != nil {
			return err
		}
	}
	if err := m.certificate(at(provision.CertFile), at(provision.KeyFile), ca, site, role); err != nil {
		return err
	}
	if err := m.statement(at(provision.NomadNodeFile), signer, site, role); err != nil {
		return err
	}
	// Last: a folder that says which secrets it has, has them.
	text, err := os.ReadFile(filepath.Join(m.Dir, generationFile))
	if err != nil {
		return err
	}
	return m.put(at(provision.GenerationFile), text)
}

// put writes a file as a whole, if its text differs.
func (m *maker) put(name string, text []byte) error {
	path := filepath.Join(m.Dir, name)
	if old, err := os.ReadFile(path); err == nil && string(old) == string(text) {
		return nil
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return err
	}
	// In the same folder: a secret is never in /tmp, not even for a moment.
	if err := renameio.WriteFile(path, text, 0o600, renameio.WithStaticPermissions(0o600), renameio.WithTempDir(filepath.Dir(path))); err != nil {
		return err
	}
	m.written = append(m.written, name)
	return nil
}
