// Package packages builds the npm packages of the player, from the modules that routers serve
// and from what stands beside it:
//
//	player/  @nearcast/player: the element in few files, minified, with source maps; types by hand
//	react/   @nearcast/react: a component around it
//
//	err := packages.Build("../..", "bin/npm", "1.2.0") // bin/npm/player and bin/npm/react
//	npm pack bin/npm/player
//
// The bundler is esbuild, as a Go library: to build takes no npm. dist/player.js is what a page
// loads to show the player and to play in English. What few sessions need is in files of its own,
// which it loads when they do: other languages, ends and help, fingers, gamepads, clipboards.
package packages

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/evanw/esbuild/pkg/api"
)

// Names are the packages, by their folders.
var Names = []string{"player", "react"}

// Build writes the packages into folders of out. root is that of the repository, version a
// semantic version; a leading v is dropped.
func Build(root, out, version string) error {
	here := filepath.Join(root, "web", "packages")
	version = strings.TrimPrefix(version, "v")
	for _, name := range Names {
		to := filepath.Join(out, name)
		if err := os.RemoveAll(to); err != nil {
			return fmt.Errorf("remove an older package: %w", err)
		}
		if err := os.CopyFS(to, os.DirFS(filepath.Join(here, name))); err != nil {
			return fmt.Errorf("copy the files of %s: %w", name, err)
		}
		if err := copyFile(filepath.Join(root, "LICENSE"), filepath.Join(to, "LICENSE")); err != nil {
			return err
		}
		if err := stamp(filepath.Join(to, "package.json"), version); err != nil {
			return err
		}
	}
	return bundle(root, filepath.Join(out, "player", "dist"))
}

// stamp writes the version in the place of each 0.0.0: the package's own, and that of the player
// which the component needs.
func stamp(file, version string) error {
	text, err := os.ReadFile(file)
	if err != nil {
		return fmt.Errorf("read package.json: %w", err)
	}
	quoted, err := json.Marshal(version)
	if err != nil {
		return err
	}
	text = bytes.ReplaceAll(text, []byte(`"0.0.0"`), quoted)
	if !json.Valid(text) {
		return fmt.Errorf("%s is no JSON", file)
	}
	return os.WriteFile(file, text, 0o644)
}

func copyFile(from, to string) error {
	text, err := os.ReadFile(from)
	if err != nil {
		return fmt.Errorf("read %s: %w", filepath.Base(from), err)
	}
	return os.WriteFile(to, text, 0o644)
}

// Target is what browsers must know: what the modules are written in.
const Target = api.ES2022

// chunk has what player.js and later.js share. Bundlers make a file more for each other set of
// files that share something.
const chunk = "chunk.js"

func bundle(root, out string) error {
	entry, err := filepath.Abs(filepath.Join(root, "web", "assets", "js", "element.js"))
	if err != nil {
		return err
	}
	result := api.Build(api.BuildOptions{
		EntryPointsAdvanced: []api.EntryPoint{{InputPath: entry, OutputPath: "player"}},
		AbsWorkingDir:       filepath.Dir(entry),
		// Source maps name the modules from here; nothing is written there.
		Outdir:            filepath.Join(filepath.Dir(entry), "dist"),
		ChunkNames:        "[name]",
		Bundle:            true,
		Splitting:         true,
		Format:            api.FormatESModule,
		Target:            Target,
		MinifyWhitespace:  true,
		MinifyIdentifiers: true,
		MinifySyntax:      true,
		Charset:           api.CharsetUTF8,
		Sourcemap:         api.SourceMapLinked,
		LegalComments:     api.LegalCommentsNone,
		Plugins:           []api.Plugin{styles},
		Write:             false,
	})
	if len(result.Errors) > 0 {
		text := strings.Join(api.FormatMessages(result.Errors, api.FormatMessagesOptions{}), "")
		if strings.Contains(text, chunk) {
			return errors.New("a page would load more than player.js and one file beside it before it plays: later.js alone may import what the player imports, too; the other modules that are loaded later import nothing of it")
		}
		return errors.New(text)
	}
	if err := os.MkdirAll(out, 0o755); err != nil {
		return fmt.Errorf("make the folder of the bundle: %w", err)
	}
	for _, file := range result.OutputFiles {
		if err := os.WriteFile(filepath.Join(out, filepath.Base(file.Path)), file.Contents, 0o644); err != nil {
			return fmt.Errorf("write the bundle: %w", err)
		}
	}
	return nil
}

// styles minifies the style sheets, which are text in modules: "export const NAME = `…`;".
var styles = api.Plugin{Name: "styles", Setup: func(build api.PluginBuild) {
	build.OnLoad(api.OnLoadOptions{Filter: `[/\\]js[/\\]style[/\\][^/\\]+\.js$`}, func(args api.OnLoadArgs) (api.OnLoadResult, error) {
		source, err := os.ReadFile(args.Path)
		if err != nil {
			return api.OnLoadResult{}, err
		}
		head, rest, has := strings.Cut(string(source), "`")
		sheet, tail, ends := strings.Cut(rest, "`")
		if !has || !ends || strings.TrimSpace(tail) != ";" || strings.ContainsAny(sheet, "\\$") {
			return api.OnLoadResult{}, fmt.Errorf("%s is not one style sheet in one template without placeholders", filepath.Base(args.Path))
		}
		small := api.Transform(sheet, api.TransformOptions{Loader: api.LoaderCSS, MinifyWhitespace: true, MinifySyntax: true, Charset: api.CharsetUTF8, LogLevel: api.LogLevelSilent})
		if len(small.Errors) > 0 || len(small.Warnings) > 0 {
			return api.OnLoadResult{}, fmt.Errorf("%s: %v", filepath.Base(args.Path), append(small.Errors, small.Warnings...))
		}
		quoted, err := json.Marshal(string(bytes.TrimSpace(small.Code)))
		if err != nil {
			return api.OnLoadResult{}, err
		}
		text := head + string(quoted) + tail
		return api.OnLoadResult{Contents: &text, Loader: api.LoaderJS}, nil
	})
}}
