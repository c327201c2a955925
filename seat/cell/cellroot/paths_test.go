package cellroot

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/nearcast/nearcast/internal/testkit"
)

func TestUnescape(t *testing.T) {
	for text, want := range map[string]string{
		"/plain":            "/plain",
		`/a\040b`:           "/a b",
		`/a\011b\012c\134d`: "/a\tb\nc\\d",
		`\040`:              " ",
		`/end\04`:           `/end\04`,
		`/end\`:             `/end\`,
		`/no\999octal`:      `/no\999octal`,
		`/large\777`:        `/large\777`,
		`/\134040`:          `/\040`, // not twice
	} {
		if got := unescape(text); got != want {
			t.Errorf("%s: %q, want %q", text, got, want)
		}
	}
}

func TestBelow(t *testing.T) {
	for _, c := range []struct {
		path, dir string
		want      bool
	}{{"/a/b", "/a", true}, {"/a", "/a", true}, {"/ab", "/a", false}, {"/a", "/a/b", false}, {"/a", "/", true}, {"/a/b", "/a/", true}} {
		if below(c.path, c.dir) != c.want {
			t.Errorf("%s below %s: %v", c.path, c.dir, !c.want)
		}
	}
}

// TestInside: links of the cell never lead to the node's files.
func TestInside(t *testing.T) {
	b := &builder{top: filepath.Join(t.TempDir(), "root")}
	outside := t.TempDir()
	testkit.Must(t, os.MkdirAll(b.at("/task/dir"), 0o755))
	for link, to := range map[string]string{
		"absolute": outside, "root": "/", "up": "../../../../../../../..", "self": "self", "chain": "up/task/absolute", "proc": "/proc/self/root",
	} {
		testkit.Must(t, os.Symlink(to, b.at("/task/"+link)))
	}
	for path, want := range map[string]string{
		"/task/dir/x":       "/task/dir/x",
		"/task/absolute/x":  outside + "/x",
		"/task/root/x":      "/x",
		"/task/up/x":        "/x",
		"/task/chain/x":     outside + "/x",
		"/task/proc/etc":    "/proc/self/root/etc",
		"/../../x":          "/x",
		"/task/../../../x":  "/x",
		"/task/up/../../..": "/",
	} {
		got, err := b.inside(path)
		if err != nil || got != filepath.Join(b.top, want) {
			t.Errorf("%s: %s, %v, want %s", path, got, err, want)
		}
	}
	if got, err := b.inside("/task/self/x"); err == nil {
		t.Errorf("a link to itself is %s", got)
	}
	at, err := b.mountPoint("/task/absolute/new/file", false)
	testkit.Must(t, err)
	if !strings.HasPrefix(at, b.top) {
		t.Errorf("the mount point is %s", at)
	}
	if info, err := os.Stat(at); err != nil || !info.Mode().IsRegular() {
		t.Errorf("%v, %v", info, err)
	}
	if entries, err := os.ReadDir(outside); err != nil || len(entries) > 0 {
		t.Errorf("made outside: %v, %v", entries, err)
	}
	// What is there is used as it is.
	if again, err := b.mountPoint("/task/dir", true); err != nil || again != b.at("/task/dir") {
		t.Errorf("%s, %v", again, err)
	}
}

// TestShow: a link is shown as a link, twice is harmless, and what is missing is left out.
func TestShow(t *testing.T) {
	b := &builder{top: t.TempDir()}
	link := filepath.Join(t.TempDir(), "link")
	testkit.Must(t, os.Symlink("/somewhere", link))
	for range 2 {
		testkit.Must(t, b.show(link))
	}
	if to, err := os.Readlink(b.at(link)); err != nil || to != "/somewhere" {
		t.Errorf("%s, %v", to, err)
	}
	testkit.Must(t, b.show("/no/such/path"))
	if _, err := os.Lstat(b.at("/no")); err == nil {
		t.Error("a missing path was made")
	}
}

// TestWriteNew: a file that the operator shows stays, and no link is followed.
func TestWriteNew(t *testing.T) {
	dir := t.TempDir()
	target := filepath.Join(dir, "target")
	testkit.Must(t, os.WriteFile(target, []byte("node's"), 0o600))
	testkit.Must(t, os.Symlink(target, filepath.Join(dir, "link")))
	testkit.Must(t, os.Symlink(filepath.Join(dir, "none"), filepath.Join(dir, "broken")))
	for _, name := range []string{"target", "link", "broken", "new"} {
		testkit.Must(t, writeNew(filepath.Join(dir, name), "ours"))
	}
	if b, err := os.ReadFile(target); err != nil || string(b) != "node's" {
		t.Errorf("%q, %v", b, err)
	}
	if _, err := os.Stat(filepath.Join(dir, "none")); err == nil {
		t.Error("a broken link was followed")
	}
	if b, err := os.ReadFile(filepath.Join(dir, "new")); err != nil || string(b) != "ours" {
		t.Errorf("%q, %v", b, err)
	}
}
