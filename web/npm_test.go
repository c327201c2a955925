package web_test

import (
	"bytes"
	"compress/gzip"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/evanw/esbuild/pkg/api"

	"github.com/nearcast/nearcast/internal/testkit"
	"github.com/nearcast/nearcast/web/packages"
)

// mostKB is what a page may have to load until a person plays, in KiB after gzip.
const mostKB = 40

// An npm project in which our packages are installed, for all tests of this process.
var npm = struct {
	once    sync.Once
	dir     string
	err     error
	offline string // why the registry was not reached
}{}

// npmProject gives the project. It skips the test where npm or its registry is missing.
func npmProject(t testing.TB) string {
	t.Helper()
	if _, err := exec.LookPath("npm"); err != nil {
		t.Skip("npm is not installed: THE NPM PACKAGES WERE NOT TRIED")
	}
	npm.once.Do(func() { npm.dir, npm.err = installPackages() })
	if npm.offline != "" {
		t.Skipf("the npm registry was not reached: THE NPM PACKAGES WERE NOT TRIED: %s", npm.offline)
	}
	if npm.err != nil {
		t.Fatal(npm.err)
	}
	return npm.dir
}

func installPackages() (dir string, err error) {
	dir, err = os.MkdirTemp("", "nearcast-npm-")
	if err != nil {
		return "", err
	}
	built := filepath.Join(dir, "built")
	if err := packages.Build("..", built, "v0.0.1-test"); err != nil {
		return dir, fmt.Errorf("build the packages: %w", err)
	}
	if err := os.CopyFS(dir, os.DirFS(filepath.Join("packages", "testdata"))); err != nil {
		return dir, err
	}
	for _, folder := range []string{dir, filepath.Join(dir, "react18")} {
		if npm.offline, err = testkit.NPMInstall(folder); err != nil {
			return dir, err
		}
	}
	// npm 11 asks the registry which versions of react there are, though it has the one that is asked for.
	install := []string{"install", "--no-save", "--prefer-offline", "--ignore-scripts", "--no-audit", "--no-fund"}
	for _, name := range packages.Names {
		out, err := runIn(dir, "npm", "pack", "--pack-destination", dir, "--ignore-scripts", filepath.Join(built, name))
		if err != nil {
			return dir, fmt.Errorf("npm pack: %w\n%s", err, out)
		}
		install = append(install, "./nearcast-"+name+"-0.0.1-test.tgz")
	}
	out, err := runIn(dir, "npm", install...)
	if err == nil && !strings.Contains(out, "added 2 packages") {
		err = errors.New("it installs more than our packages")
	}
	if err != nil {
		return dir, fmt.Errorf("npm %s: %w\n%s", strings.Join(install, " "), err, out)
	}
	return dir, nil
}

func runIn(dir, program string, args ...string) (string, error) {
	ctx, cancel := context.WithTimeout(context.Background(), testkit.NPMPatience)
	defer cancel()
	cmd := exec.CommandContext(ctx, program, args...)
	cmd.Dir, cmd.WaitDelay = dir, 10*time.Second
	out, err := cmd.CombinedOutput()
	if ctx.Err() != nil {
		err = fmt.Errorf("it took more than %v: %w", testkit.NPMPatience, err)
	}
	return string(out), err
}

// The packages as a customer gets them: packed, installed and compiled against.
func TestPackages(t *testing.T) {
	dir := npmProject(t)
	installed := filepath.Join(dir, "node_modules", "@nearcast")

	t.Run("what is in them", func(t *testing.T) {
		for _, file := range []string{
			"player/package.json", "player/index.d.ts", "player/README.md", "player/LICENSE", "player/dist/player.js", "player/dist/player.js.map", "player/dist/de.js",
			"react/package.json", "react/index.js", "react/index.d.ts", "react/README.md", "react/LICENSE",
		} {
			if _, err := os.Stat(filepath.Join(installed, file)); err != nil {
				t.Error(err)
			}
		}
		var about struct {
			Version      string
			Dependencies map[string]string
		}
		text, err := os.ReadFile(filepath.Join(installed, "player", "package.json"))
		testkit.Must(t, err)
		testkit.Must(t, json.Unmarshal(text, &about))
		if about.Version != "0.0.1-test" || len(about.Dependencies) > 0 {
			t.Errorf("@nearcast/player is %+v: it has its version, and depends on nothing", about)
		}
		var sources struct{ Sources []string }
		text, err = os.ReadFile(filepath.Join(installed, "player", "dist", "player.js.map"))
		testkit.Must(t, err)
		testkit.Must(t, json.Unmarshal(text, &sources))
		if !slices.Contains(sources.Sources, "../element.js") {
			t.Errorf("the source map names %v", sources.Sources)
		}
	})

	t.Run("what a page has to load", func(t *testing.T) {
		dist := filepath.Join(installed, "player", "dist")
		needed := map[string]bool{}
		size, all := 0, 0
		for _, file := range needs(t, dist, "player.js", needed) {
			size += gzipped(t, filepath.Join(dist, file))
		}
		files, err := filepath.Glob(filepath.Join(dist, "*.js"))
		testkit.Must(t, err)
		for _, file := range files {
			all += gzipped(t, file)
		}
		t.Logf("%d bytes after gzip to play in English, %d with all that a page may load", size, all)
		if size > mostKB<<10 {
			t.Errorf("a page has to load %d bytes after gzip, and %d are allowed (%d KB): load what few sessions need when they do", size, mostKB<<10, mostKB)
		}
		if len(files) < 8 || all < size+15_000 {
			t.Errorf("languages, ends and help, fingers, gamepads, clipboards are in %d files of %d bytes in all", len(files), all)
		}
	})

	t.Run("types", func(t *testing.T) {
		out, err := runIn(dir, filepath.Join("node_modules", ".bin", "tsc"), "--noEmit", "--strict", "--target", "es2022", "--module", "esnext",
			"--moduleResolution", "bundler", "--lib", "es2022,dom,dom.iterable", "shop.ts")
		if err != nil {
			t.Errorf("tsc: %v\n%s", err, out)
		}
	})

	t.Run("on a server", func(t *testing.T) {
		out, err := runIn(dir, "node", "--input-type=module", "-e", `
import { createElement } from 'react';
import { renderToString } from 'react-dom/server';
import { NearcastPlayer } from '@nearcast/react';
console.log(renderToString(createElement(NearcastPlayer, { app: 'viewer', token: 'secret', className: 'wide' }, createElement('p', { slot: 'ready' }, 'Soon'))));`)
		if want := `<nearcast-player class="wide"><p slot="ready">Soon</p></nearcast-player>`; err != nil || strings.TrimSpace(out) != want {
			t.Errorf("%v: %s, want %s", err, out, want)
		}
	})
}

// A page that its customer's bundler makes loads the player when the component is there.
func TestPagesAreBundled(t *testing.T) {
	project := npmProject(t)
	page, err := filepath.Abs(filepath.Join("examples", "react", "page.jsx"))
	testkit.Must(t, err)
	for _, modules := range []string{"node_modules", filepath.Join("react18", "node_modules")} {
		out := t.TempDir()
		bundlePage(t, project, page, out, reactOf(project, modules))
		first := ""
		for _, file := range needs(t, out, "page.js", map[string]bool{}) {
			text, err := os.ReadFile(filepath.Join(out, file))
			testkit.Must(t, err)
			first += string(text)
		}
		if strings.Contains(first, "RTCPeerConnection") || !strings.Contains(first, "nearcast-player") {
			t.Errorf("%s: the page loads the player before it shows it, or has no component", modules)
		}
	}
}

// reactOf says where the React of a folder of the project is.
func reactOf(project, modules string) map[string]string {
	return map[string]string{"react": filepath.Join(project, modules, "react"), "react-dom": filepath.Join(project, modules, "react-dom")}
}

var imported = regexp.MustCompile(`(?:from|import)\s*"\./([^"]+)"`)

// needs gives a file and all that it imports before it runs.
func needs(t *testing.T, dist, file string, seen map[string]bool) []string {
	t.Helper()
	if seen[file] {
		return nil
	}
	seen[file] = true
	text, err := os.ReadFile(filepath.Join(dist, file))
	testkit.Must(t, err)
	all := []string{file}
	for _, m := range imported.FindAllSubmatch(text, -1) {
		all = append(all, needs(t, dist, string(m[1]), seen)...)
	}
	return all
}

func gzipped(t *testing.T, file string) int {
	t.Helper()
	text, err := os.ReadFile(file)
	testkit.Must(t, err)
	var small bytes.Buffer
	w, err := gzip.NewWriterLevel(&small, gzip.BestCompression)
	testkit.Must(t, err)
	_, err = w.Write(text)
	testkit.Must(t, errors.Join(err, w.Close()))
	return small.Len()
}

// bundlePage makes scripts of a page with React, as a customer's bundler does. alias says where
// packages are that the page imports.
func bundlePage(t testing.TB, project, page, out string, alias map[string]string) {
	t.Helper()
	result := api.Build(api.BuildOptions{
		EntryPoints: []string{page}, AbsWorkingDir: project, NodePaths: []string{filepath.Join(project, "node_modules")},
		Outdir: out, Write: true, Bundle: true, Splitting: true, Format: api.FormatESModule, JSX: api.JSXAutomatic, Alias: alias,
		Define: map[string]string{"process.env.NODE_ENV": `"production"`},
	})
	if len(result.Errors) > 0 {
		t.Fatal(strings.Join(api.FormatMessages(result.Errors, api.FormatMessagesOptions{}), ""))
	}
}
