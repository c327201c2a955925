package secrets

import (
	"crypto/x509"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/nearcast/nearcast/provision"
)

func remake(t *testing.T, dir string, now time.Time, sites ...string) []string {
	t.Helper()
	written, err := Make(Config{Dir: dir, Sites: sites, Now: now})
	if err != nil {
		t.Fatal(err)
	}
	return written
}

func read(t *testing.T, path ...string) string {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(path...))
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

func TestMake(t *testing.T) {
	dir, now := t.TempDir(), time.Now()
	remake(t, dir, now, "a")
	for _, role := range provision.Roles() {
		if _, err := provision.LoadSecrets(filepath.Join(dir, "a", string(role)), role); err != nil {
			t.Error(err)
		}
	}
	if written := remake(t, dir, now); len(written) > 0 {
		t.Errorf("the second run wrote %v", written)
	}
	for _, path := range remake(t, dir, now, "b") {
		if !strings.HasPrefix(path, "b/") {
			t.Errorf("adding a site wrote %s", path)
		}
	}

	// Secrets that only servers may have.
	for _, role := range []string{"edge", "stream"} {
		found, err := os.ReadDir(filepath.Join(dir, "a", role))
		if err != nil {
			t.Fatal(err)
		}
		for _, f := range found {
			if strings.Contains(f.Name(), "management") || strings.Contains(f.Name(), "replication") || f.Name() == "ticket-key.pem" ||
				f.Name() == provision.NomadGossipFile || strings.HasPrefix(f.Name(), "ca-key") {
				t.Errorf("a %s has %s", role, f.Name())
			}
		}
	}
	filepath.WalkDir(dir, func(path string, d os.DirEntry, err error) error {
		if info, _ := d.Info(); err != nil || !d.IsDir() && info.Mode().Perm() != 0o600 && filepath.Base(path) != "ticket-keys.pem" {
			t.Errorf("%s has mode %v: %v", path, info.Mode(), err)
		}
		return nil
	})
}

// Vagrant calls Make once for each machine that it starts, at the same time.
func TestMakeAtOnce(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "secrets")
	wrote := make(chan []string)
	for range 6 {
		go func() {
			written, err := Make(Config{Dir: dir, Sites: []string{"a", "b"}})
			if err != nil {
				t.Error(err)
			}
			wrote <- written
		}()
	}
	busy := 0
	for range 6 {
		if len(<-wrote) > 0 {
			busy++
		}
	}
	if busy != 1 {
		t.Errorf("%d of 6 made secrets", busy)
	}
}

func TestCertificates(t *testing.T) {
	dir, now := t.TempDir(), time.Now()
	remake(t, dir, now, "a")
	pool := x509.NewCertPool()
	pool.AppendCertsFromPEM([]byte(read(t, dir, "ca.pem")))
	for role, names := range map[string]map[string]bool{
		"server": {"server.a.consul": true, "server.a.nomad": true, "localhost": true, "server.b.nomad": false},
		"stream": {"client.a.consul": true, "client.a.nomad": true, "server.a.consul": false, "server.a.nomad": false},
	} {
		cert, err := parseCert([]byte(read(t, dir, "a", role, provision.CertFile)))
		if err != nil {
			t.Fatal(err)
		}
		for name, good := range names {
			_, err := cert.Verify(x509.VerifyOptions{Roots: pool, DNSName: name, KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}})
			if (err == nil) != good {
				t.Errorf("%s as %s: %v", role, name, err)
			}
		}
	}
}

func TestRenewal(t *testing.T) {
	dir, now := t.TempDir(), time.Now()
	remake(t, dir, now, "a")
	if written := remake(t, dir, now.Add(200*24*time.Hour)); len(written) > 0 {
		t.Errorf("after 200 days it renewed %v", written)
	}
	before := read(t, dir, "shared", provision.ConsulGossipFile)
	written := remake(t, dir, now.Add(300*24*time.Hour))
	for _, role := range provision.Roles() {
		for _, name := range []string{provision.CertFile, provision.KeyFile, provision.NomadNodeFile} {
			if !slices.Contains(written, filepath.Join("a", string(role), name)) {
				t.Errorf("after 300 days, %s of %s was not renewed", name, role)
			}
		}
	}
	if len(written) != 9 || read(t, dir, "shared", provision.ConsulGossipFile) != before {
		t.Errorf("it wrote %v", written)
	}
}

// A folder that an earlier release made keeps its key: nodes have statements that it
// signed, and servers check them by its public half.
func TestTakeOver(t *testing.T) {
	dir, now := t.TempDir(), time.Now()
	remake(t, dir, now, "a")
	old := map[string]string{"node-key.pem": "host-key.pem", "node-key.pub.pem": "host-key.pub.pem"}
	for _, role := range []string{"server", "edge", "stream"} {
		old["a/"+role+"/nomad-node.jwt"] = "a/" + role + "/nomad-host.jwt"
	}
	old["a/server/nomad-node.pub.pem"] = "a/server/nomad-host.pub.pem"
	before := map[string]string{}
	for name, oldName := range old {
		before[name] = read(t, dir, name)
		if err := os.Rename(filepath.Join(dir, name), filepath.Join(dir, oldName)); err != nil {
			t.Fatal(err)
		}
	}
	if written := remake(t, dir, now); len(written) != len(old) {
		t.Errorf("it wrote %v; want the %d files of new names", written, len(old))
	}
	for name, oldName := range old {
		if read(t, dir, name) != before[name] {
			t.Errorf("%s is not what was %s", name, oldName)
		}
		if _, err := os.Stat(filepath.Join(dir, oldName)); !os.IsNotExist(err) {
			t.Errorf("%s is still there: %v", oldName, err)
		}
	}
	if written := remake(t, dir, now); len(written) > 0 {
		t.Errorf("the second run wrote %v", written)
	}

	// Of two keys, the operator must choose.
	if err := os.WriteFile(filepath.Join(dir, "host-key.pem"), []byte("another"), 0o600); err != nil {
		t.Fatal(err)
	}
	if written, err := Make(Config{Dir: dir, Now: now}); err == nil || !strings.Contains(err.Error(), "node-key.pem and host-key.pem both exist") || len(written) > 0 {
		t.Errorf("with two keys it wrote %v, and says %v", written, err)
	}
}

func TestMakeRefuses(t *testing.T) {
	for _, sites := range [][]string{nil, {"Europe"}, {"../a"}, {"shared"}} {
		if written, err := Make(Config{Dir: t.TempDir(), Sites: sites}); err == nil {
			t.Errorf("%v made %v", sites, written)
		}
	}
	// Half a pair: a new key would not fit the nodes' certificates.
	dir := t.TempDir()
	remake(t, dir, time.Now(), "a")
	other := t.TempDir()
	remake(t, other, time.Now(), "a")
	if err := os.WriteFile(filepath.Join(dir, "ca.pem"), []byte(read(t, other, "ca.pem")), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := Make(Config{Dir: dir}); err == nil || !strings.Contains(err.Error(), "ca-key.pem") {
		t.Errorf("another ca.pem: %v", err)
	}
}

func TestPack(t *testing.T) {
	dir := t.TempDir()
	remake(t, dir, time.Now(), "a")
	packed, err := Pack(dir, "a")
	if err != nil {
		t.Fatal(err)
	}
	if len(packed) > 64<<10 {
		t.Errorf("%d bytes are more than Secrets Manager allows", len(packed))
	}
	copied := t.TempDir()
	if err := Unpack(copied, packed); err != nil {
		t.Fatal(err)
	}
	// The pack is enough to make nodes of the same cluster.
	remake(t, copied, time.Now(), "a")
	if read(t, dir, "a", "edge", provision.ConsulAgentFile) != read(t, copied, "a", "edge", provision.ConsulAgentFile) {
		t.Error("tokens differ")
	}
	if err := Unpack(t.TempDir(), `{"../../etc/passwd": "x"}`); err == nil {
		t.Error("unpacked above the folder")
	}
}

// TestRotation: nodes trust two authorities while one signs, and have certificates of the one whose key
// is there; a folder shows which secrets it has.
func TestRotation(t *testing.T) {
	dir, now := t.TempDir(), time.Now()
	remake(t, dir, now, "a")
	first := read(t, dir, "a", "edge", provision.GenerationFile)
	files, err := Read(dir)
	if err != nil {
		t.Fatal(err)
	}
	if strings.TrimSpace(first) != Generation(files) {
		t.Errorf("the folder shows %q, and its secrets are %q", first, Generation(files))
	}
	for name, counts := range map[string]bool{
		"shared/" + provision.ConsulGossipFile: true, "tickets/ticket-keys.pem": true, "node-key.pem": true,
		"rotation/state.json": false, "a/edge/" + provision.CertFile: false,
	} {
		changed := maps.Clone(files)
		changed[name] += "another"
		if (Generation(changed) != Generation(files)) != counts {
			t.Errorf("with another %s the secrets are %s, and were %s", name, Generation(changed), Generation(files))
		}
	}
	cert, key, err := Authority(now)
	if err != nil {
		t.Fatal(err)
	}
	old := files["ca.pem"]
	replace := func(change map[string]string) {
		t.Helper()
		for name, text := range change {
			if files[name] = text; text == "" {
				delete(files, name)
			}
		}
		if err := Replace(dir, files, "rotation/state.json"); err != nil {
			t.Fatal(err)
		}
		if shows := strings.TrimSpace(read(t, dir, "a", "stream", provision.GenerationFile)); shows != Generation(files) {
			t.Errorf("after %v the folder shows %s, and its secrets are %s", slices.Collect(maps.Keys(change)), shows, Generation(files))
		}
	}
	signedBy := func(authority string) bool {
		t.Helper()
		ca, err := parseCert([]byte(authority))
		if err != nil {
			t.Fatal(err)
		}
		cert, err := parseCert([]byte(read(t, dir, "a", "edge", provision.CertFile)))
		if err != nil {
			t.Fatal(err)
		}
		return cert.CheckSignatureFrom(ca) == nil
	}
	replace(map[string]string{"ca.pem": old + cert, "rotation/state.json": "{}", "rotation/next/ca-key.pem": key})
	if read(t, dir, "a", "edge", provision.CAFile) != old+cert || !signedBy(old) {
		t.Error("nodes do not trust both, or have other certificates already")
	}
	if read(t, dir, "a", "edge", provision.GenerationFile) == first {
		t.Error("the folder shows the secrets of before")
	}
	if _, err := os.Stat(filepath.Join(dir, "rotation", "edge")); err == nil {
		t.Error("the folder of the rotation became a site")
	}
	replace(map[string]string{"ca-key.pem": key})
	if !signedBy(cert) {
		t.Error("the certificates are still of the old authority")
	}
	replace(map[string]string{"ca.pem": cert, "rotation/state.json": "", "rotation/next/ca-key.pem": ""})
	if read(t, dir, "a", "edge", provision.CAFile) != cert {
		t.Error("nodes trust the old authority")
	}
	if left, _ := filepath.Glob(filepath.Join(dir, "rotation", "*.json")); len(left) > 0 {
		t.Errorf("%v are left", left)
	}
	node, err := NodeKey()
	if err != nil {
		t.Fatal(err)
	}
	also, err := PublicNodeKey(node)
	if err != nil {
		t.Fatal(err)
	}
	replace(map[string]string{"node-key.also.pem": also})
	if keys := read(t, dir, "a", "server", provision.NomadNodeKeyFile); strings.Count(keys, "BEGIN") != 2 || !strings.HasSuffix(keys, also) {
		t.Errorf("servers know the keys %q", keys)
	}
	statement := read(t, dir, "a", "edge", provision.NomadNodeFile)
	replace(map[string]string{"node-key.pem": node, "node-key.also.pem": ""})
	if read(t, dir, "a", "server", provision.NomadNodeKeyFile) != also || read(t, dir, "a", "edge", provision.NomadNodeFile) == statement {
		t.Error("statements are still of the old key")
	}
	if written := remake(t, dir, now); len(written) > 0 {
		t.Errorf("another run wrote %v", written)
	}
}
