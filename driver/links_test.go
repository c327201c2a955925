package driver

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/nearcast/nearcast/internal/testkit"
	"github.com/nearcast/nearcast/internal/wire"
)

// A seat that has ended holds nothing of the content cache, also while Nomad keeps its folder. What it wrote itself
// stays there, and nothing outside is touched.
func TestEndedSeatLinksNoContent(t *testing.T) {
	for name, end := range map[string]string{"ends": "exit 0", "dies": "kill -9 $$"} {
		t.Run(name, func(t *testing.T) {
			b := newBench(t, "")
			cache := filepath.Join(filepath.Dir(b.runDir), "objects")
			testkit.Must(t, os.Mkdir(cache, 0o755))
			for _, file := range []string{"a", "b", "other"} {
				testkit.Must(t, os.WriteFile(filepath.Join(cache, file), []byte(file), 0o444))
			}
			testkit.Must(t, os.Link(filepath.Join(cache, "other"), filepath.Join(cache, "twice")))
			task := shTask("until [ -e local/set/own ]; do sleep 0.02; done; " + end)
			task.Content = []ContentConfig{{Source: "s3://content/v1/", Destination: "local/set"}, {Source: "s3://content/b", Destination: "local/b"}}
			cfg := job("", nil)
			testkit.Must(t, cfg.EncodeConcreteDriverConfig(task))
			b.start(cfg)
			local := cfg.TaskDir().LocalDir
			testkit.Must(t, os.MkdirAll(filepath.Join(local, "set/deep"), 0o755))
			testkit.Must(t, os.Link(filepath.Join(cache, "a"), filepath.Join(local, "set/deep/a")))
			testkit.Must(t, os.Link(filepath.Join(cache, "b"), filepath.Join(local, "b")))
			testkit.Must(t, os.Symlink(cache, filepath.Join(local, "set/out")))
			testkit.Must(t, os.Symlink(filepath.Join(cache, "other"), filepath.Join(local, "set/deep/link")))
			testkit.Must(t, os.WriteFile(filepath.Join(local, "set/own"), nil, 0o644))
			b.wait(cfg.ID)
			for file, want := range map[string]uint64{"a": 1, "b": 1, "other": 2} {
				var stat unix.Stat_t
				if err := unix.Stat(filepath.Join(cache, file), &stat); err != nil || uint64(stat.Nlink) != want {
					t.Errorf("%s has %d names, want %d: %v", file, stat.Nlink, want, err)
				}
			}
			for _, file := range []string{"own", "out", "deep/link"} {
				if _, err := os.Lstat(filepath.Join(local, "set", file)); err != nil {
					t.Error(err)
				}
			}
		})
	}
}

// What a hostile app left does not hold up the end of its seat: folders deeper than any content are not
// looked through, nor is what lies behind a link.
func TestUnlinkInFoldersOfAHostileApp(t *testing.T) {
	dir := t.TempDir()
	task, cache := filepath.Join(dir, "task"), filepath.Join(dir, "cache")
	deep := filepath.Join(task, "local/set")
	for range 6 {
		deep = filepath.Join(deep, strings.Repeat("d", 250))
	}
	for _, folder := range []string{deep, cache} {
		testkit.Must(t, os.MkdirAll(folder, 0o755))
	}
	names := map[string]uint64{"shallow": 1, "deep": 2, "outside": 2}
	for name := range names {
		testkit.Must(t, os.WriteFile(filepath.Join(cache, name), nil, 0o444))
	}
	testkit.Must(t, os.Link(filepath.Join(cache, "shallow"), filepath.Join(task, "local/set/a")))
	testkit.Must(t, os.Link(filepath.Join(cache, "deep"), filepath.Join(deep, "a")))
	testkit.Must(t, os.Link(filepath.Join(cache, "outside"), filepath.Join(cache, "twice")))
	testkit.Must(t, os.Symlink(cache, filepath.Join(task, "local/out")))
	unlinkContent(t.Context(), &wire.Spec{TaskDir: task, Content: []wire.Content{{Destination: "local/out"}, {Destination: "local/set"}}})
	for name, want := range names {
		var stat unix.Stat_t
		if err := unix.Stat(filepath.Join(cache, name), &stat); err != nil || uint64(stat.Nlink) != want {
			t.Errorf("%s has %d names, want %d: %v", name, stat.Nlink, want, err)
		}
	}
}
